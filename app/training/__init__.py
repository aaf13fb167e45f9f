"""Offline: from recorded candles to a released model. Read `production` first.

Threads that share a machine: by default the workers of torch and LightGBM wait for each other spinning. As soon as
another process takes one of the cores, both burn their time waiting, and training takes ten times as long. Here they
sleep. The setting is read once, when their libraries are loaded, so it stands where everything in this folder begins.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
