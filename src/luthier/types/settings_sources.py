"""Sources of settings besides keyword arguments: environment variables and the config file."""

from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from luthier.types.plain_settings import config_path
from luthier.types.renamed_settings import with_current_names


class SourcedSettings(BaseSettings):
    """Precedence: keyword arguments (the flags of `luthier serve`), environment variables, config file, defaults."""

    # Validation errors hide input values, which may be keys.
    model_config = SettingsConfigDict(
        env_prefix="LUTHIER_", extra="forbid", validate_default=True, hide_input_in_errors=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Renamed settings are read under their current names."""
        config = TomlConfigSettingsSource(settings_cls, toml_file=config_path())
        config.init_kwargs = with_current_names(config.init_kwargs, "")
        if isinstance(init_settings, InitSettingsSource):
            init_settings.init_kwargs = with_current_names(init_settings.init_kwargs, "")
        if isinstance(env_settings, EnvSettingsSource):
            env_settings.env_vars = with_current_names(env_settings.env_vars, "luthier_")
        return init_settings, env_settings, config
