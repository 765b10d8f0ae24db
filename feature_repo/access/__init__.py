"""Who may call the API: keys, tokens of buyers, rate limits. The command line writes them, the API reads them."""
