"""Plans of the recipes, as TOML; `forge-train recipe NAME` reads them."""
