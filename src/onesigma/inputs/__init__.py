"""Room: inputs."""
