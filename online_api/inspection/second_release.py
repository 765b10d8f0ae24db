"""The release that is compared with the live one: any on disk, loaded when it is asked for, never live."""

from feature_repo.common.errors import GateRefusedError
from online_api.lists.live_release import LiveRelease, ReleaseKeeper, low_priority
from training.artifacts.recommender import SchemaMismatchError
from training.artifacts.release_manifest import is_release_name


class UnknownReleaseError(LookupError):
    """There is no such release on disk."""


class SecondRelease:
    """Keeps one release in memory, until another one is asked for; for one thread."""

    def __init__(self, keeper: ReleaseKeeper) -> None:
        """Loads nothing yet."""
        self._keeper = keeper
        self._kept: LiveRelease | None = None

    def get(self, name: str) -> LiveRelease:
        """The release with present rules and, where it has the same products as the live one, present prices and stock.

        Raises:
            UnknownReleaseError: There is none of this name.
            GateRefusedError: It is damaged, or was made for other features.
        """
        live = self._keeper.live
        if name == live.recommender.name:
            self._kept = None  # it may have gone live since
            return live
        if self._kept is None or self._kept.recommender.name != name:
            self._kept = self._load(name)
        # Each time, instead of keeping the live release that it was updated from, which may be an old one by now.
        return self._keeper.updated(self._kept)

    def _load(self, name: str) -> LiveRelease:
        releases = self._keeper.releases
        # The name comes from a caller and must not lead out of the folder.
        if not is_release_name(name) or not (releases / name).is_dir():
            raise UnknownReleaseError(f"there is no release {name!r}; `tawsiya release list` lists them")
        self._kept = None  # before the next one is loaded, so that there are never three in memory
        try:
            with low_priority():  # seconds for a large release, most of them without Python's lock
                return self._keeper.load_beside(releases / name)
        except (ValueError, OSError, SchemaMismatchError) as error:
            # Callers must not learn paths.
            raise GateRefusedError(str(error).replace(f"{releases}/", "")) from None
