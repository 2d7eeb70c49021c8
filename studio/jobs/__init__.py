"""When and where: the progress of a run, its curve, and later its place in a queue."""
