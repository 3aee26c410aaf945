"""Tools of the integration tests. `pb` gathers the generated message modules: pb.registry.ApiKey, pb.common.Caller, ..."""
