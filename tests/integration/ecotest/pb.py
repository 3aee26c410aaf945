"""The generated message modules under short names. Import after protos.generate (conftest does it)."""

from ecolink.v1 import billing_pb2 as billing  # noqa: F401
from ecolink.v1 import common_pb2 as common  # noqa: F401
from ecolink.v1 import gateway_pb2 as gateway  # noqa: F401
from ecolink.v1 import health_pb2 as health  # noqa: F401
from ecolink.v1 import registry_pb2 as registry  # noqa: F401
from ecolink.v1 import scheduler_pb2 as scheduler  # noqa: F401
