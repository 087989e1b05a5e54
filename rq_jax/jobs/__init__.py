"""The work of all commands except training; `chunks` resumes long jobs."""
