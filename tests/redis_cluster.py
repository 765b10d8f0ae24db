"""A Redis Cluster of three nodes on loopback, without replicas; its nodes can be killed and started again."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis

from tests.valkey_server import ValkeyServer

SLOTS = 16_384
N_NODES = 3
NODE_TIMEOUT_MS = 1_000  # after it, the others declare a silent node dead
PATIENCE_S = 30.0


class RedisCluster:
    """The nodes, which are processes of this one."""

    def __init__(self, folder: Path) -> None:
        self.nodes: list[ValkeyServer] = []
        self._buses: list[int] = []
        for number in range(N_NODES):
            home = folder / str(number)
            home.mkdir()
            # By default the port of a node's bus is 10,000 higher, which may be no port at all.
            self._buses.append(_free_port())
            options = ["--cluster-enabled", "yes", "--cluster-port", str(self._buses[-1])]
            self.nodes.append(ValkeyServer(home, *options, "--cluster-node-timeout", str(NODE_TIMEOUT_MS)))

    @property
    def connection(self) -> str:
        """The value of $TAWSIYA_REDIS."""
        return ",".join(node.connection for node in self.nodes)

    def join(self) -> None:
        """Gives each node a third of the slots, and introduces the nodes to each other."""
        bounds = [SLOTS * number // N_NODES for number in range(N_NODES + 1)]
        for node, first, end in zip(self.nodes, bounds, bounds[1:], strict=False):
            with redis.Redis(port=node.port) as client:
                client.execute_command("CLUSTER ADDSLOTSRANGE", first, end - 1)
                for other, bus in zip(self.nodes, self._buses, strict=True):
                    client.execute_command("CLUSTER MEET", "127.0.0.1", other.port, bus)
        self.wait_until_ok()

    def wait_until_ok(self) -> None:
        """Until all nodes see the whole cluster."""
        deadline = time.monotonic() + PATIENCE_S
        while not all(self._sees_all(node) for node in self.nodes):
            assert time.monotonic() < deadline, "the cluster does not come up"
            time.sleep(0.05)

    def node_of(self, key: bytes) -> ValkeyServer:
        """The node that holds a key."""
        with redis.RedisCluster("127.0.0.1", self.nodes[0].port) as client:
            port = client.get_node_from_key(key).port
        return next(node for node in self.nodes if node.port == port)

    @staticmethod
    def _sees_all(node: ValkeyServer) -> bool:
        with redis.Redis(port=node.port) as client:
            info = client.cluster("INFO")
            return (info["cluster_state"], info["cluster_known_nodes"]) == ("ok", str(N_NODES))


@contextmanager
def redis_cluster(folder: Path) -> Iterator[RedisCluster]:
    """A cluster that is up, for the block."""
    with ExitStack() as stack:
        cluster = RedisCluster(folder)
        for node in cluster.nodes:
            stack.callback(node.kill)
        cluster.join()
        yield cluster


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
