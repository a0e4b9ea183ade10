"""What people see of headwater: `standard_streams` owns the standard streams, and `layout` fits
sentences and tables into them.
"""
