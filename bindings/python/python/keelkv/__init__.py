"""keelkv inside a Python program: a member of the key-value store in this process."""

from keelkv._native import VERSION as __version__
from keelkv.errors import Code, Error
from keelkv.node import Batch, Event, EventKind, KeyValue, Node, Watch

__all__ = ["Batch", "Code", "Error", "Event", "EventKind", "KeyValue", "Node", "Watch", "__version__"]
