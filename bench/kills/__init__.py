"""A campaign of kills: no deal of the stock is ever used twice, whenever a party dies."""
