"""The path of an event: intake, fan-out, claiming, dispatch, recording."""
