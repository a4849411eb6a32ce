"""From the metrics table to intervals, judged claims, figures and pages; needs neither torch nor Snakemake."""
