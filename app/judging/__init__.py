"""How good forecasts were: one implementation for what is served and for what is trained offline."""
