"""An agent in a process of its own, to be killed: `run_agent.py URL HOME`, with the token on its standard input.

It knows the task `tick` alone, and loads no plugins.
"""

import sys
from pathlib import Path
from types import SimpleNamespace

from camelid_core.jobs.executors import LocalExecutor
from camelid_core.jobs.stop_signals import StopSignal, stop_on_signals
from camelid_core.machines.agent import Agent
from camelid_core.machines.join_address import JoinAddress
from camelid_core.machines.own_description import describe_this_machine
from camelid_core.machines.remote_store import RemoteStore
from ticking import TICK

home = Path(sys.argv[2])
home.mkdir(parents=True, exist_ok=True)
store = RemoteStore(JoinAddress.parse(sys.argv[1]), sys.stdin.readline().strip(), describe_this_machine(home, ["tick"]))
with stop_on_signals(StopSignal()) as stop:
    host = SimpleNamespace(tasks={"tick": TICK})
    Agent(store, home, host, lambda text: print(text, flush=True), LocalExecutor("ticking")).run_forever(stop)
