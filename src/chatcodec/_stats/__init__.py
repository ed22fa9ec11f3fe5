"""What `stats` sums up, in the command and with Dask: exact counts and totals, sketches of the rest."""
