"""Telemetry: metrics, traces and logs of the runs that this process drives. Nothing here is imported unless it is asked for."""
