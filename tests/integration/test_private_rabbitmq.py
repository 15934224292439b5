from __future__ import annotations

import shutil
import subprocess
import sys

import pika
import psutil

from tests.support.postgres import REPOSITORY
from tests.support.rabbitmq import PrivateRabbitMQ


def test_the_node_listens_on_loopback_only(private_rabbitmq: PrivateRabbitMQ):
    ports = {private_rabbitmq.port, private_rabbitmq.distribution_port, private_rabbitmq.epmd_port}
    connections = [c for pid in private_rabbitmq.pids for c in psutil.Process(pid).net_connections("inet")]
    listening = [c.laddr for c in connections if c.status == psutil.CONN_LISTEN]
    assert {address.port for address in listening} == ports
    assert {address.ip for address in listening} <= {"127.0.0.1", "::1"}


def test_a_confirmed_message_survives_a_killed_node(private_rabbitmq: PrivateRabbitMQ):
    with pika.BlockingConnection(pika.URLParameters(private_rabbitmq.url)) as connection:
        connection.channel().queue_declare("kept", durable=True)
    private_rabbitmq.restart()  # what was declared a moment before a kill may be lost
    with pika.BlockingConnection(pika.URLParameters(private_rabbitmq.url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("", "kept", b"", pika.BasicProperties(delivery_mode=2))
    before = private_rabbitmq.pids
    private_rabbitmq.kill()
    private_rabbitmq.restart()
    assert private_rabbitmq.pids[0] != before[0]
    assert private_rabbitmq.list_queues()["kept"] == 1
    private_rabbitmq.run_ctl("delete_queue", "kept")


def test_nothing_is_left_after_stop():
    node = PrivateRabbitMQ()
    node.launch()
    node_and_epmd = [psutil.Process(pid) for pid in node.pids]
    node.stop()
    assert not any(member.is_running() for member in node_and_epmd)
    assert not node.folder.exists()


def test_a_killed_test_run_leaves_no_node_and_no_epmd():
    program = (
        "from tests.support.rabbitmq import PrivateRabbitMQ; import time\n"
        "node = PrivateRabbitMQ(); node.launch(); print(node.folder, *node.pids, flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        folder, *pids = run.stdout.readline().split()
        node_and_epmd = [psutil.Process(int(pid)) for pid in pids]
        run.kill()
    assert psutil.wait_procs(node_and_epmd, timeout=30)[1] == []
    shutil.rmtree(folder)
