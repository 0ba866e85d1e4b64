"""How long a test waits for what must come: seconds of the clock that only a hang reaches.

A machine with much else to do, or one that pauses a run, takes many times as long as an idle one. No test measures
speed by the clock (bench/ does), so nothing is gained by a closer limit.
"""

PATIENCE = 1200.0
