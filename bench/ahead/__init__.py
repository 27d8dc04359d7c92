"""Predictions from stock, with each party's own work ahead, beside those with a dealer on line."""
