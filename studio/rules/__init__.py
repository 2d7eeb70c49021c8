"""What must hold between arguments of different groups, for every stage."""
