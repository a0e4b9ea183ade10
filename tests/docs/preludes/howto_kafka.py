from tests.docs.shop import payments

payments().write_parquet("payments.parquet")
