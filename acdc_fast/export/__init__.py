"""The network and what `Model.align` does with its answer as one file for other runtimes: ONNX or `torch.export`."""

from .writers import export_network as export_network
from .writers import export_onnx as export_onnx
from .writers import export_program as export_program
from .writers import network_of as network_of
