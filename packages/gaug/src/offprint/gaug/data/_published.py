"""The data sets of the paper, from the folder that OFFPRINT_DATA names."""

from typing import NamedTuple

from offprint.core.data import DataError, local_folder
from offprint.gaug.data._node_data import NodeData
from offprint.gaug.data._read import Scale, load_npz


class _Archive(NamedTuple):
    name: str
    scale: Scale
    nodes: int
    edges: int


_CORA = _Archive("cora", "row", 2708, 5278)
_CITESEER = _Archive("citeseer", "row", 3327, 4552)
_AIR_USA = _Archive("air-usa", "row", 1190, 13599)
_BLOGCATALOG = _Archive("blogcatalog", "none", 5196, 171743)
_FLICKR = _Archive("flickr", "none", 7575, 239738)


def cora() -> NodeData:
    """Cora: 2708 papers, 5278 citations, 1433 words (rows sum to 1), 7 classes; the public split 140/500/1000.

    Sen et al., Collective classification in network data, AI Magazine 2008; split: Yang et al., ICML 2016.

    Raises:
        DataError: the archive is not there, or is another one; the message says what to do.
    """
    return _load(_CORA)


def citeseer() -> NodeData:
    """Citeseer: 3327 papers, 4552 citations, 3703 words (rows sum to 1), 6 classes; the public split 120/500/1000.

    Sen et al., Collective classification in network data, AI Magazine 2008; split: Yang et al., ICML 2016.

    Raises:
        DataError: as for `cora`.
    """
    return _load(_CITESEER)


def air_usa() -> NodeData:
    """Air-USA: 1190 airports, 13599 routes, the degree as 238 indicators, 4 classes by activity; split 10/20/70 %.

    Ribeiro et al., struc2vec, KDD 2017; features: Wu, He, Xu, DEMO-Net, KDD 2019.

    Raises:
        DataError: as for `cora`.
    """
    return _load(_AIR_USA)


def blogcatalog() -> NodeData:
    """BlogCatalog: 5196 bloggers, 171743 links, 8189 word counts as they are, 6 classes; split 10/20/70 %.

    Huang, Li, Hu, Label informed attributed network embedding, WSDM 2017.

    Raises:
        DataError: as for `cora`.
    """
    return _load(_BLOGCATALOG)


def flickr() -> NodeData:
    """Flickr: 7575 users, 239738 links, 12047 tag counts as they are, 9 classes; split 10/20/70 %.

    Huang, Li, Hu, Label informed attributed network embedding, WSDM 2017. Not the Flickr of 89250 images.

    Raises:
        DataError: as for `cora`.
    """
    return _load(_FLICKR)


def _load(archive: _Archive) -> NodeData:
    folder, inside = local_folder(), f"{archive.name}/{archive.name}.npz"
    path = None if folder is None else folder / inside
    if path is None or not path.is_file():
        raise DataError(
            f"{archive.name} cannot be downloaded as plain arrays: put {inside} into the folder that OFFPRINT_DATA "
            f"names ({folder or 'not set'}). `offprint.gaug.data.save_npz` writes it from arrays of any source, such "
            "as PyTorch Geometric or the files of the authors' repository github.com/zhao-tong/GAug"
        )
    data = load_npz(path, scale=archive.scale, name=archive.name)
    if (data.graph.num_nodes, data.graph.num_edges) != (archive.nodes, archive.edges):
        raise DataError(
            f"{path} has {data.graph.num_nodes} nodes and {data.graph.num_edges} edges, but {archive.name} has "
            f"{archive.nodes} and {archive.edges}; replace it, or read it with load_npz under a name of its own"
        )
    return data
