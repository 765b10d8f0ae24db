"""The sections of the configuration, by subject; feature_repo.common.config puts them together."""
