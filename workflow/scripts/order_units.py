"""Rule order_units: the order in which the units of each model of a zoo lie like those of one of them."""

from weightspace.checkpoints import read_zoo
from weightspace.jobs import job_of
from weightspace.progress import rule_log
from weightspace.table import read_table
from weightspace.unit_orders import write_unit_orders
from weightspace.zoo.ordering import unit_orders

with rule_log(snakemake.log[0]):
    inputs, job = snakemake.input, job_of(snakemake)
    found = unit_orders(read_zoo(inputs.weights), read_table(inputs.models))
    write_unit_orders(snakemake.output.orders, found, job)
