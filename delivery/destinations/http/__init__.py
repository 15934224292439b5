"""The guarded HTTP transport: the only part of the engine that opens sockets to receivers."""
