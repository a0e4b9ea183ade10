from tests.docs.shop import payments

frame = payments().rename({"card": "user", "amount": "price"})
clicks_frame = frame.rename({"paid_at": "clicked_at"}).drop("is_fraud")
requests_frame = frame.rename({"paid_at": "asked_at", "is_fraud": "bought"}).drop(
    "price", "payment_id"
)
