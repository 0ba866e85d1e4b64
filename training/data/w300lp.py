"""300W-LP (Zhu et al., CVPR 2016): 300W's faces turned to large poses, with 68 projected points and pose.

Folders: AFW, HELEN, IBUG, LFPW and their mirror images AFW_Flip, HELEN_Flip, … . A face is a test face if it was made
from a test picture of 300W: IBUG, LFPW's ``image_test``, HELEN's test set. HELEN's file names do not say which, so
"train" and "test" read the names in 300W's ``helen/testset``. It must lie under the same root.
"""

from __future__ import annotations

from pathlib import Path, PurePath

from acdc_fast.errors import InputError

from .beside import FacesWithFiles, list_pictures
from .broken import Broken
from .database import Database
from .mat import LABELS
from .w300 import find_folder

FOLDERS = ("AFW", "HELEN", "IBUG", "LFPW", "AFW_Flip", "HELEN_Flip", "IBUG_Flip", "LFPW_Flip")


def open_300wlp(root: Path, split: str = "train", skip_broken: bool = False) -> Database:
    """``root`` is the folder ``300W_LP`` or holds it. Splits: "train", "test" and "all"."""
    home = next((root / n for n in ("300W_LP", "300W-LP") if (root / n).is_dir()), root)
    broken = Broken(skip_broken)
    folders = [home / name for name in FOLDERS if (home / name).is_dir()]
    files = list_pictures(home, folders, LABELS, broken)
    if not files and not broken.messages:
        raise InputError(f"{home}: holds no faces of 300W-LP (folders {', '.join(FOLDERS)})")
    if split != "all":
        tested = {p.stem for p in find_folder(root, "helen/testset").glob("*.pts")}
        files = [f for f in files if is_test(f, tested) == (split == "test")]
    return FacesWithFiles("300wlp", split, home, LABELS, files, broken.messages)


def is_test(file: str, helen: set[str]) -> bool:
    """Whether ``HELEN/HELEN_232194_1_0.jpg`` was made from a test picture of 300W. ``helen``: HELEN's test names."""
    origin, _, rest = PurePath(file).stem.partition("_")  # (HELEN, 232194_1_0): picture 232194_1, version 0
    if origin == "HELEN":
        return rest.rpartition("_")[0] in helen
    return origin == "IBUG" or "image_test" in rest
