
import headwater as hw

payments = hw.Source(
    "payments", history=hw.parquet("payments.parquet"), stream=hw.push(), timestamp_field="paid_at", id_field="payment_id",
    select=["card", "amount"],
)
card = hw.FeatureView(
    "card", source=payments, keys=["card"], freshness=hw.batch("1h"), windows=["1d", "30d"], features=[hw.count(), hw.mean("amount")]
)
labels = hw.Labels("disputed", table=hw.parquet("payments.parquet"), timestamp_field="paid_at", label="is_fraud", known_after="1d")
fraud = hw.Model("fraud", task="binary", features=hw.FeatureService("fraud_v1", [card]), labels=labels)
project = hw.Project("shop", [fraud], levels={"daily": hw.batch("1d"), "hourly": hw.batch("1h")})
