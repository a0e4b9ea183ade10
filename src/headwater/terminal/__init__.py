"""What people see of headwater: `streams` owns the standard streams, and `layout` fits sentences and tables into them."""
