"""Rule order_kernels: which coordinate each kernel of the originals gets."""

from weightspace.chosen import ChosenNetworks
from weightspace.jobs import job_of
from weightspace.predictor.kernels import layout_of
from weightspace.predictor.orders import order_kernels, write_order
from weightspace.predictor.originals import read_originals
from weightspace.progress import rule_log

with rule_log(snakemake.log[0]):
    job = job_of(snakemake)
    how = snakemake.params.ordering
    originals = read_originals(snakemake.input.weights, ChosenNetworks(**how["chosen"]))
    layout = layout_of(originals.spec.shapes, how["kernel_sizes"], how["linear"])
    write_order(snakemake.output.order, order_kernels(originals, layout, how["order"]), job)
