"""Reports: a run as text, HTML, CSV, JSON and JUnit XML, and the comparison of two runs."""
