"""What the commands run beyond training; `chunks` is how long jobs resume."""
