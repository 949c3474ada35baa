"""The table of datasets: facts of their makers, label values of the classes in torchgeo 0.8.1 and 0.10.0.

OpenEarthMap is in neither, and so not here.
"""

from __future__ import annotations

import difflib

from geoseg.datasets.records import DatasetInfo, DatasetList, Split
from geoseg.errors import ParameterError
from geoseg.legend import Legend

_RGB = ("red", "green", "blue")


def _legend(**colors: str) -> Legend:
    """Classes numbered from 1; an underscore stands for a blank."""
    return Legend.from_names([name.replace("_", " ") for name in colors], colors.values())


# The values of torchgeo are those of the files: 0 no data, 1 background .. 7 agriculture. Its LoveDA.classes begins
# with background at 0 and ends with no-data, so classes[value] names the wrong class.
_LOVEDA = DatasetInfo(
    name="loveda",
    title="LoveDA, land cover of Nanjing, Changzhou and Wuhan (Wang et al. 2021, arXiv 2110.08733)",
    legend=_legend(
        background="#ffffff",
        building="#ff0000",
        road="#ffff00",
        water="#0000ff",
        barren="#9f81b7",
        forest="#00ff00",
        agriculture="#ffc380",
    ),
    sources=(1, 2, 3, 4, 5, 6, 7),
    ignored=(0,),
    bands=_RGB,
    gsd=(0.3, 0.3),
    images=5987,
    gigapixels=5987 * 1024**2 / 1e9,
    license="CC BY-NC-SA 4.0, academic use only",
    where="https://zenodo.org/records/5706578",
    splits=(Split("train", 2522), Split("val", 1669), Split("test", 1796, labelled=False)),
    archives=("Train.zip", "Val.zip", "Test.zip"),
    downloadable=True,
    subsets=("urban", "rural"),
    submittable=True,
)

_LANDCOVERAI = DatasetInfo(
    name="landcoverai",
    title="LandCover.ai, land cover of Poland in chips of 512×512 (Boguszewski et al. 2021, arXiv 2005.02264)",
    legend=_legend(background="#000000", building="#614a4a", woodland="#267300", water="#00c5ff", road="#cfcfcf"),
    sources=(0, 1, 2, 3, 4),
    ignored=(),
    bands=_RGB,
    gsd=(0.25, 0.5),
    images=10674,
    gigapixels=10674 * 512**2 / 1e9,
    license="CC BY-NC-SA 4.0",
    where="https://huggingface.co/datasets/dragon7/LandCover.ai",
    splits=(Split("train", 7470), Split("val", 1602), Split("test", 1602)),
    archives=("output.zip", "train.txt", "val.txt", "test.txt"),
    downloadable=True,
)

_DEEPGLOBE = DatasetInfo(
    name="deepglobe",
    title="DeepGlobe Land Cover Classification Challenge (Demir et al. 2018, arXiv 1805.06561)",
    legend=_legend(
        urban_land="#00ffff",
        agriculture_land="#ffff00",
        rangeland="#ff00ff",
        forest_land="#00ff00",
        water="#0000ff",
        barren_land="#ffffff",
    ),
    sources=(0, 1, 2, 3, 4, 5),
    ignored=(6,),
    bands=_RGB,
    gsd=(0.5, 0.5),
    images=803,
    gigapixels=803 * 2448**2 / 1e9,
    license="none stated; see the terms of the challenge",
    where="https://www.kaggle.com/datasets/geoap96/deepglobe2018-landcover-segmentation-traindataset",
    splits=(Split("train", None), Split("test", None)),
    archives=("data.zip",),
    coloured=True,
    remark="both splits are of the challenge's training set, the only one with labels",
)

_ISPRS = {
    "impervious_surfaces": "#ffffff",
    "building": "#0000ff",
    "low_vegetation": "#00ffff",
    "tree": "#00ff00",
    "car": "#ffff00",
    "clutter": "#ff0000",
}

_POTSDAM = DatasetInfo(
    name="potsdam",
    title="ISPRS 2D Semantic Labeling, Potsdam",
    legend=_legend(**_ISPRS),
    sources=(1, 2, 3, 4, 5, 0),  # torchgeo counts clutter first, ISPRS last
    ignored=(),
    bands=("red", "green", "blue", "nir"),
    gsd=(0.05, 0.05),
    images=38,
    gigapixels=38 * 6000**2 / 1e9,
    license="none stated; see the terms of ISPRS and its data providers",
    where="https://www.isprs.org/resources/datasets/benchmarks/UrbanSemLab/2d-sem-label-potsdam.aspx",
    splits=(Split("train", 24), Split("test", 14)),
    archives=("4_Ortho_RGBIR.zip", "5_Labels_all.zip"),
    coloured=True,
)

_VAIHINGEN = DatasetInfo(
    name="vaihingen",
    title="ISPRS 2D Semantic Labeling, Vaihingen",
    legend=_legend(**_ISPRS),
    sources=(1, 2, 3, 4, 5, 0),
    ignored=(),
    bands=("nir", "red", "green"),  # torchgeo calls them RGB; they are colour-infrared
    gsd=(0.09, 0.09),
    images=33,
    gigapixels=0.17,
    license="none stated; see the terms of ISPRS and its data providers",
    where="https://www.isprs.org/resources/datasets/benchmarks/UrbanSemLab/default.aspx",
    splits=(Split("train", 16), Split("test", 17)),
    archives=(
        "ISPRS_semantic_labeling_Vaihingen.zip",
        "ISPRS_semantic_labeling_Vaihingen_ground_truth_COMPLETE.zip",
    ),
    coloured=True,
)

_INRIA = DatasetInfo(
    name="inria",
    title="Inria Aerial Image Labeling, buildings (Maggiori et al. 2017, doi 10.1109/IGARSS.2017.8127684)",
    legend=_legend(not_building="#000000", building="#ffffff"),
    sources=(0, 1),  # 255 in the files, which torchgeo makes 1
    ignored=(),
    bands=_RGB,
    gsd=(0.3, 0.3),
    images=360,
    gigapixels=360 * 5000**2 / 1e9,
    license="none stated; see its site",
    where="https://project.inria.fr/aerialimagelabeling/",
    splits=(Split("train", 155), Split("val", 25), Split("test", 180, labelled=False)),
    archives=("NEW2-AerialImageDataset.zip",),
    remark="val is the first five images of each of the five training cities, as its makers advise",
)

_GID15 = DatasetInfo(
    name="gid15",
    title="GID-15, Gaofen-2 land cover of China (Tong et al. 2020, doi 10.1016/j.rse.2019.111322)",
    legend=_legend(
        industrial_land="#c80000",
        urban_residential="#fa0096",
        rural_residential="#c89696",
        traffic_land="#fa9696",
        paddy_field="#00c800",
        irrigated_land="#96fa00",
        dry_cropland="#96c896",
        garden_plot="#c800c8",
        arbor_woodland="#9600fa",
        shrub_land="#9696fa",
        natural_grassland="#fac800",
        artificial_grassland="#c8c800",
        river="#0000c8",
        lake="#0096c8",
        pond="#00c8fa",
    ),
    sources=tuple(range(1, 16)),
    ignored=(0,),  # background: what none of the 15 categories was given to
    bands=_RGB,
    gsd=(3.0, 3.0),
    images=150,
    gigapixels=150 * 6800 * 7200 / 1e9,
    license="none stated; see its site",
    where="https://captain-whu.github.io/GID15/",
    splits=(Split("train", None), Split("val", None), Split("test", None, labelled=False)),
    archives=("gid-15.zip",),
    downloadable=True,
)

_CHESAPEAKE = DatasetInfo(
    name="chesapeake",
    title="Chesapeake Land Cover, NAIP imagery of 2013 and 2014 (Robinson et al. 2019, doi 10.1109/cvpr.2019.01301)",
    legend=_legend(
        water="#00c5ff",
        tree_canopy="#267300",
        low_vegetation="#a3ff73",
        barren="#ffaa00",
        impervious_surfaces="#9c9c9c",
        impervious_roads="#000000",
    ),
    sources=(1, 2, 3, 4, 5, 6),
    ignored=(0, 15),  # 15 is no data in the files; 0 is what torchgeo fills with
    bands=("red", "green", "blue", "nir"),
    gsd=(1.0, 1.0),
    images=None,
    gigapixels=30.0,
    license="see its site; NAIP imagery is in the public domain",
    where="https://lila.science/datasets/chesapeakelandcover",
    splits=(Split("train", None), Split("val", None), Split("test", None)),
    archives=("cvpr_chesapeake_landcover.zip", "cvpr_chesapeake_landcover_prior_extension.zip"),
    downloadable=True,
    subsets=("de", "md", "ny", "pa", "va", "wv"),
    remark="a sample is a whole tile of about 6 by 7.5 km; torchgeo below 0.10 asks for both archives",
)

_ALL = (_LOVEDA, _LANDCOVERAI, _DEEPGLOBE, _POTSDAM, _VAIHINGEN, _INRIA, _GID15, _CHESAPEAKE)


def list_datasets() -> DatasetList:
    """List what ``--dataset`` takes by name; no file is looked at, and nothing is fetched."""
    return DatasetList(_ALL)


def dataset_info(name: str) -> DatasetInfo:
    """What is known of the dataset called ``name``.

    Raises:
        ParameterError: There is none; the message has the nearest name.
    """
    known = {info.name: info for info in _ALL}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name.lower().replace("-", "").replace(".", ""), known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ParameterError(f"there is no dataset {name!r}; {hint}there are {', '.join(known)}")
