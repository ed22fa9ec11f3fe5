"""The figures that `stats` prints, for the command and for Dask."""
