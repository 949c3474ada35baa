"""Where the parts of an output are kept: beside it, or where the user says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from geoseg.parts.stores import inside, is_begun, is_url

PARTS_SUFFIX = ".parts"


@dataclass(frozen=True, slots=True)
class PartsPlace:
    """Where the parts of one output are kept while it is made.

    Attributes:
        folder: Beside the output; of this output alone.
        elsewhere: Where they are, a path or a URL, if not in ``folder``.
    """

    folder: Path
    elsewhere: str | None = None

    @classmethod
    def beside(cls, output: Path, parts_folder: str | Path | None, suffix: str = PARTS_SUFFIX) -> PartsPlace:
        """That of an output.

        Args:
            output: The file that is made.
            parts_folder: A folder or a URL for the parts of many outputs, or None.
            suffix: What its folder's name has after the output's.

        Raises:
            ParameterError: ``parts_folder`` has no name.
        """
        folder = output.with_name(output.name + suffix)
        return cls(folder, None if parts_folder is None else inside(parts_folder, folder.name))

    @property
    def shared(self) -> str:
        """What all who make parts call it, whatever folder they work in."""
        if self.elsewhere is None:
            return str(self.folder.absolute())
        return self.elsewhere if is_url(self.elsewhere) else str(Path(self.elsewhere).absolute())

    @property
    def begun(self) -> bool:
        """Whether a run has been begun there.

        Raises:
            ParameterError: Such a URL holds no parts.
            OutputError: It cannot be looked at.
        """
        return is_begun(self.shared)
