"""Where a transformer may do less, decided from what each piece costs on this machine and what it would lose."""
