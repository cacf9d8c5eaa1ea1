"""The paper of every method, as BibTeX.

A field that is not known for certain is left out: a paper that appeared only on arXiv is cited as such, pages and
volumes are those of the proceedings.
"""

import difflib

SURVEY = "hoefler2021sparsity"  # the survey whose catalogue this package follows

_NIPS = "Advances in Neural Information Processing Systems"
_ICML = "Proceedings of the {} International Conference on Machine Learning"
_ICLR = "International Conference on Learning Representations"
_CVPR = "Proceedings of the IEEE Conference on Computer Vision and Pattern Recognition"
_CVF_CVPR = "Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition"
_ICCV = "Proceedings of the IEEE International Conference on Computer Vision"
_ECCV = "Proceedings of the European Conference on Computer Vision"
_JMLR = "Journal of Machine Learning Research"


def _nips(number: int) -> dict[str, str | int]:
    return {"booktitle": _NIPS, "volume": number}


def _icml(ordinal: str, pmlr: int) -> dict[str, str | int]:
    return {"booktitle": _ICML.format(ordinal), "series": "Proceedings of Machine Learning Research", "volume": pmlr}


def _in(booktitle: str) -> dict[str, str | int]:
    return {"booktitle": booktitle}


def _arxiv(number: str) -> dict[str, str | int]:
    return {"eprint": number, "archivePrefix": "arXiv"}


def _journal(journal: str, volume: int, number: str | None = None, pages: str | None = None) -> dict[str, str | int]:
    given = {"journal": journal, "volume": volume, "number": number, "pages": pages}
    return {name: value for name, value in given.items() if value is not None}


# key: (authors, title, year, where)
_PAPERS: dict[str, tuple[str, str, int, dict[str, str | int]]] = {
    "hoefler2021sparsity": (
        "Hoefler, Torsten and Alistarh, Dan and Ben-Nun, Tal and Dryden, Nikoli and Peste, Alexandra",
        "Sparsity in Deep Learning: Pruning and growth for efficient inference and training in neural networks",
        2021,
        _journal(_JMLR, 22, "241", "1--124"),
    ),
    # Choosing elements: magnitude, first order, at initialisation.
    "han2015": (
        "Han, Song and Pool, Jeff and Tran, John and Dally, William",
        "Learning both Weights and Connections for Efficient Neural Network",
        2015,
        _nips(28) | {"pages": "1135--1143"},
    ),
    "lee2021lamp": (
        "Lee, Jaeho and Park, Sejun and Mo, Sangwoo and Ahn, Sungsoo and Shin, Jinwoo",
        "Layer-adaptive Sparsity for the Magnitude-based Pruning",
        2021,
        _in(_ICLR),
    ),
    "molchanov2017": (
        "Molchanov, Pavlo and Tyree, Stephen and Karras, Tero and Aila, Timo and Kautz, Jan",
        "Pruning Convolutional Neural Networks for Resource Efficient Inference",
        2017,
        _in(_ICLR),
    ),
    "molchanov2019": (
        "Molchanov, Pavlo and Mallya, Arun and Tyree, Stephen and Frosio, Iuri and Kautz, Jan",
        "Importance Estimation for Neural Network Pruning",
        2019,
        _in(_CVF_CVPR),
    ),
    "lee2019snip": (
        "Lee, Namhoon and Ajanthan, Thalaiyasingam and Torr, Philip H. S.",
        "SNIP: Single-shot Network Pruning based on Connection Sensitivity",
        2019,
        _in(_ICLR),
    ),
    "wang2020grasp": (
        "Wang, Chaoqi and Zhang, Guodong and Grosse, Roger",
        "Picking Winning Tickets Before Training by Preserving Gradient Flow",
        2020,
        _in(_ICLR),
    ),
    "tanaka2020synflow": (
        "Tanaka, Hidenori and Kunin, Daniel and Yamins, Daniel L. K. and Ganguli, Surya",
        "Pruning neural networks without any data by iteratively conserving synaptic flow",
        2020,
        _nips(33),
    ),
    "dejorge2021force": (
        "de Jorge, Pau and Sanyal, Amartya and Behl, Harkirat S. and Torr, Philip H. S. and Rogez, Gregory "
        "and Dokania, Puneet K.",
        "Progressive Skeletonization: Trimming more fat from a network at initialization",
        2021,
        _in(_ICLR),
    ),
    "verdenius2020": (
        "Verdenius, Stijn and Stol, Maarten and Forr{\\'e}, Patrick",
        "Pruning via Iterative Ranking of Sensitivity Statistics",
        2020,
        _arxiv("2006.00896"),
    ),
    "sanh2020movement": (
        "Sanh, Victor and Wolf, Thomas and Rush, Alexander M.",
        "Movement Pruning: Adaptive Sparsity by Fine-Tuning",
        2020,
        _nips(33),
    ),
    "tartaglione2018": (
        "Tartaglione, Enzo and Leps{\\o}y, Skjalg and Fiandrotti, Attilio and Francini, Gianluca",
        "Learning Sparse Neural Networks via Sensitivity-Driven Regularization",
        2018,
        _nips(31),
    ),
    "michel2019": (
        "Michel, Paul and Levy, Omer and Neubig, Graham",
        "Are Sixteen Heads Really Better than One?",
        2019,
        _nips(32),
    ),
    # Second order.
    "lecun1990obd": (
        "Le Cun, Yann and Denker, John S. and Solla, Sara A.",
        "Optimal Brain Damage",
        1990,
        _nips(2) | {"pages": "598--605"},
    ),
    "hassibi1993obs": (
        "Hassibi, Babak and Stork, David G.",
        "Second order derivatives for network pruning: Optimal Brain Surgeon",
        1993,
        _nips(5) | {"pages": "164--171"},
    ),
    "singh2020woodfisher": (
        "Singh, Sidak Pal and Alistarh, Dan",
        "WoodFisher: Efficient Second-Order Approximation for Neural Network Compression",
        2020,
        _nips(33),
    ),
    "frantar2021mfac": (
        "Frantar, Elias and Kurtic, Eldar and Alistarh, Dan",
        "M-FAC: Efficient Matrix-Free Approximations of Second-Order Information",
        2021,
        _nips(34),
    ),
    "wang2019eigendamage": (
        "Wang, Chaoqi and Grosse, Roger and Fidler, Sanja and Zhang, Guodong",
        "EigenDamage: Structured Pruning in the Kronecker-Factored Eigenbasis",
        2019,
        _icml("36th", 97),
    ),
    "dong2017lobs": (
        "Dong, Xin and Chen, Shangyu and Pan, Sinno Jialin",
        "Learning to Prune Deep Neural Networks via Layer-wise Optimal Brain Surgeon",
        2017,
        _nips(30),
    ),
    "frantar2022obc": (
        "Frantar, Elias and Singh, Sidak Pal and Alistarh, Dan",
        "Optimal Brain Compression: A Framework for Accurate Post-Training Quantization and Pruning",
        2022,
        _nips(35),
    ),
    "frantar2023sparsegpt": (
        "Frantar, Elias and Alistarh, Dan",
        "SparseGPT: Massive Language Models Can be Accurately Pruned in One-Shot",
        2023,
        _icml("40th", 202),
    ),
    "sun2024wanda": (
        "Sun, Mingjie and Liu, Zhuang and Bair, Anna and Kolter, J. Zico",
        "A Simple and Effective Pruning Approach for Large Language Models",
        2024,
        _in(_ICLR),
    ),
    "aghasi2017nettrim": (
        "Aghasi, Alireza and Abdi, Afshin and Nguyen, Nam and Romberg, Justin",
        "Net-Trim: Convex Pruning of Deep Neural Networks with Performance Guarantee",
        2017,
        _nips(30),
    ),
    # Structure from data.
    "he2017channel": (
        "He, Yihui and Zhang, Xiangyu and Sun, Jian",
        "Channel Pruning for Accelerating Very Deep Neural Networks",
        2017,
        _in(_ICCV),
    ),
    "luo2017thinet": (
        "Luo, Jian-Hao and Wu, Jianxin and Lin, Weiyao",
        "ThiNet: A Filter Level Pruning Method for Deep Neural Network Compression",
        2017,
        _in(_ICCV),
    ),
    "hu2016apoz": (
        "Hu, Hengyuan and Peng, Rui and Tai, Yu-Wing and Tang, Chi-Keung",
        "Network Trimming: A Data-Driven Neuron Pruning Approach towards Efficient Deep Architectures",
        2016,
        _arxiv("1607.03250"),
    ),
    "he2019fpgm": (
        "He, Yang and Liu, Ping and Wang, Ziwei and Hu, Zhilan and Yang, Yi",
        "Filter Pruning via Geometric Median for Deep Convolutional Neural Networks Acceleration",
        2019,
        _in(_CVF_CVPR),
    ),
    "fang2023depgraph": (
        "Fang, Gongfan and Ma, Xinyin and Song, Mingli and Mi, Michael Bi and Wang, Xinchao",
        "DepGraph: Towards Any Structural Pruning",
        2023,
        _in(_CVF_CVPR),
    ),
    # Regularisation, gates and reparameterisations.
    "louizos2018l0": (
        "Louizos, Christos and Welling, Max and Kingma, Diederik P.",
        "Learning Sparse Neural Networks through {$L_0$} Regularization",
        2018,
        _in(_ICLR),
    ),
    "molchanov2017vd": (
        "Molchanov, Dmitry and Ashukha, Arsenii and Vetrov, Dmitry",
        "Variational Dropout Sparsifies Deep Neural Networks",
        2017,
        _icml("34th", 70),
    ),
    "gal2017concrete": (
        "Gal, Yarin and Hron, Jiri and Kendall, Alex",
        "Concrete Dropout",
        2017,
        _nips(30) | {"pages": "3581--3590"},
    ),
    "zhang2018admm": (
        "Zhang, Tianyun and Ye, Shaokai and Zhang, Kaiqi and Tang, Jian and Wen, Wujie and Fardad, Makan "
        "and Wang, Yanzhi",
        "A Systematic DNN Weight Pruning Framework using Alternating Direction Method of Multipliers",
        2018,
        _in(_ECCV),
    ),
    "zhuang2020polarization": (
        "Zhuang, Tao and Zhang, Zhixuan and Huang, Yuheng and Zeng, Xiaoyi and Shuang, Kai and Li, Xiang",
        "Neuron-level Structured Pruning using Polarization Regularizer",
        2020,
        _nips(33),
    ),
    "liu2017slimming": (
        "Liu, Zhuang and Li, Jianguo and Shen, Zhiqiang and Huang, Gao and Yan, Shoumeng and Zhang, Changshui",
        "Learning Efficient Convolutional Networks through Network Slimming",
        2017,
        _in(_ICCV),
    ),
    "wang2021greg": (
        "Wang, Huan and Qin, Can and Zhang, Yulun and Fu, Yun",
        "Neural Pruning via Growing Regularization",
        2021,
        _in(_ICLR),
    ),
    "kusupati2020str": (
        "Kusupati, Aditya and Ramanujan, Vivek and Somani, Raghav and Wortsman, Mitchell and Jain, Prateek "
        "and Kakade, Sham and Farhadi, Ali",
        "Soft Threshold Weight Reparameterization for Learnable Sparsity",
        2020,
        _icml("37th", 119),
    ),
    "schwarz2021powerprop": (
        "Schwarz, Jonathan and Jayakumar, Siddhant M. and Pascanu, Razvan and Latham, Peter E. and Teh, Yee Whye",
        "Powerpropagation: A sparsity inducing weight reparameterisation",
        2021,
        _nips(34) | {"pages": "28889--28903"},
    ),
    "savarese2020cs": (
        "Savarese, Pedro and Silva, Hugo and Maire, Michael",
        "Winning the Lottery with Continuous Sparsification",
        2020,
        _nips(33) | {"pages": "11380--11390"},
    ),
    "hoyer2004": (
        "Hoyer, Patrik O.",
        "Non-negative Matrix Factorization with Sparseness Constraints",
        2004,
        _journal(_JMLR, 5, pages="1457--1469"),
    ),
    # Sparse training and growth.
    "mocanu2018set": (
        "Mocanu, Decebal Constantin and Mocanu, Elena and Stone, Peter and Nguyen, Phuong H. and Gibescu, Madeleine "
        "and Liotta, Antonio",
        "Scalable training of artificial neural networks with adaptive sparse connectivity inspired by network science",
        2018,
        _journal("Nature Communications", 9, "1"),
    ),
    "evci2020rigl": (
        "Evci, Utku and Gale, Trevor and Menick, Jacob and Castro, Pablo Samuel and Elsen, Erich",
        "Rigging the Lottery: Making All Tickets Winners",
        2020,
        _icml("37th", 119),
    ),
    "dettmers2019snfs": (
        "Dettmers, Tim and Zettlemoyer, Luke",
        "Sparse Networks from Scratch: Faster Training without Losing Performance",
        2019,
        _arxiv("1907.04840"),
    ),
    "mostafa2019dsr": (
        "Mostafa, Hesham and Wang, Xin",
        "Parameter Efficient Training of Deep Convolutional Neural Networks by Dynamic Sparse Reparameterization",
        2019,
        _icml("36th", 97),
    ),
    "bellec2018deepr": (
        "Bellec, Guillaume and Kappel, David and Maass, Wolfgang and Legenstein, Robert",
        "Deep Rewiring: Training very sparse deep networks",
        2018,
        _in(_ICLR),
    ),
    "dai2019nest": (
        "Dai, Xiaoliang and Yin, Hongxu and Jha, Niraj K.",
        "NeST: A Neural Network Synthesis Tool Based on a Grow-and-Prune Paradigm",
        2019,
        _journal("IEEE Transactions on Computers", 68, "10", "1487--1497"),
    ),
    "jayakumar2020topkast": (
        "Jayakumar, Siddhant and Pascanu, Razvan and Rae, Jack and Osindero, Simon and Elsen, Erich",
        "Top-KAST: Top-K Always Sparse Training",
        2020,
        _nips(33),
    ),
    "lin2020dpf": (
        "Lin, Tao and Stich, Sebastian U. and Barba, Luis and Dmitriev, Daniil and Jaggi, Martin",
        "Dynamic Model Pruning with Feedback",
        2020,
        _in(_ICLR),
    ),
    "han2017dsd": (
        "Han, Song and Pool, Jeff and Narang, Sharan and Mao, Huizi and Gong, Enhao and Tang, Shijian and Elsen, Erich "
        "and Vajda, Peter and Paluri, Manohar and Tran, John and Catanzaro, Bryan and Dally, William J.",
        "DSD: Dense-Sparse-Dense Training for Deep Neural Networks",
        2017,
        _in(_ICLR),
    ),
    "peste2021acdc": (
        "Peste, Alexandra and Iofinova, Eugenia and Vladu, Adrian and Alistarh, Dan",
        "AC/DC: Alternating Compressed/DeCompressed Training of Deep Neural Networks",
        2021,
        _nips(34) | {"pages": "8557--8570"},
    ),
    # Schedules and lottery tickets.
    "zhu2018gmp": (
        "Zhu, Michael and Gupta, Suyog",
        "To prune, or not to prune: exploring the efficacy of pruning for model compression",
        2017,
        _arxiv("1710.01878"),
    ),
    "frankle2019lth": (
        "Frankle, Jonathan and Carbin, Michael",
        "The Lottery Ticket Hypothesis: Finding Sparse, Trainable Neural Networks",
        2019,
        _in(_ICLR),
    ),
    "renda2020rewind": (
        "Renda, Alex and Frankle, Jonathan and Carbin, Michael",
        "Comparing Rewinding and Fine-tuning in Neural Network Pruning",
        2020,
        _in(_ICLR),
    ),
    "frankle2020lmc": (
        "Frankle, Jonathan and Dziugaite, Gintare Karolina and Roy, Daniel M. and Carbin, Michael",
        "Linear Mode Connectivity and the Lottery Ticket Hypothesis",
        2020,
        _icml("37th", 119),
    ),
    # Gradients and errors.
    "sun2017meprop": (
        "Sun, Xu and Ren, Xuancheng and Ma, Shuming and Wang, Houfeng",
        "meProp: Sparsified Back Propagation for Accelerated Deep Learning with Reduced Overfitting",
        2017,
        _icml("34th", 70),
    ),
    "stich2018ef": (
        "Stich, Sebastian U. and Cordonnier, Jean-Baptiste and Jaggi, Martin",
        "Sparsified SGD with Memory",
        2018,
        _nips(31) | {"pages": "4447--4458"},
    ),
    "lin2018dgc": (
        "Lin, Yujun and Han, Song and Mao, Huizi and Wang, Yu and Dally, William J.",
        "Deep Gradient Compression: Reducing the Communication Bandwidth for Distributed Training",
        2018,
        _in(_ICLR),
    ),
    "strom2015": (
        "Strom, Nikko",
        "Scalable Distributed DNN Training Using Commodity GPU Cloud Computing",
        2015,
        _in("Sixteenth Annual Conference of the International Speech Communication Association"),
    ),
    "aji2017": (
        "Aji, Alham Fikri and Heafield, Kenneth",
        "Sparse Communication for Distributed Gradient Descent",
        2017,
        _in("Proceedings of the 2017 Conference on Empirical Methods in Natural Language Processing")
        | {"pages": "440--445"},
    ),
    # The dropout family.
    "wan2013dropconnect": (
        "Wan, Li and Zeiler, Matthew and Zhang, Sixin and Le Cun, Yann and Fergus, Rob",
        "Regularization of Neural Networks using DropConnect",
        2013,
        _icml("30th", 28) | {"number": "3", "pages": "1058--1066"},
    ),
    "srivastava2014dropout": (
        "Srivastava, Nitish and Hinton, Geoffrey and Krizhevsky, Alex and Sutskever, Ilya and Salakhutdinov, Ruslan",
        "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
        2014,
        _journal(_JMLR, 15, "56", "1929--1958"),
    ),
    "kingma2015vd": (
        "Kingma, Diederik P. and Salimans, Tim and Welling, Max",
        "Variational Dropout and the Local Reparameterization Trick",
        2015,
        _nips(28) | {"pages": "2575--2583"},
    ),
    "huang2016stochasticdepth": (
        "Huang, Gao and Sun, Yu and Liu, Zhuang and Sedra, Daniel and Weinberger, Kilian Q.",
        "Deep Networks with Stochastic Depth",
        2016,
        _in(_ECCV) | {"pages": "646--661"},
    ),
    "fan2020layerdrop": (
        "Fan, Angela and Grave, Edouard and Joulin, Armand",
        "Reducing Transformer Depth on Demand with Structured Dropout",
        2020,
        _in(_ICLR),
    ),
    "ba2013standout": (
        "Ba, Jimmy and Frey, Brendan",
        "Adaptive dropout for training deep neural networks",
        2013,
        _nips(26),
    ),
    "ghiasi2018dropblock": (
        "Ghiasi, Golnaz and Lin, Tsung-Yi and Le, Quoc V.",
        "DropBlock: A regularization method for convolutional networks",
        2018,
        _nips(31) | {"pages": "10727--10737"},
    ),
    "tompson2015spatial": (
        "Tompson, Jonathan and Goroshin, Ross and Jain, Arjun and LeCun, Yann and Bregler, Christopher",
        "Efficient Object Localization Using Convolutional Networks",
        2015,
        _in(_CVPR),
    ),
    # Conditional computation and sparse activations.
    "shazeer2017moe": (
        "Shazeer, Noam and Mirhoseini, Azalia and Maziarz, Krzysztof and Davis, Andy and Le, Quoc and Hinton, Geoffrey "
        "and Dean, Jeff",
        "Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts Layer",
        2017,
        _in(_ICLR),
    ),
    "fedus2022switch": (
        "Fedus, William and Zoph, Barret and Shazeer, Noam",
        "Switch Transformers: Scaling to Trillion Parameter Models with Simple and Efficient Sparsity",
        2022,
        _journal(_JMLR, 23, "120", "1--39"),
    ),
    "zoph2022stmoe": (
        "Zoph, Barret and Bello, Irwan and Kumar, Sameer and Du, Nan and Huang, Yanping and Dean, Jeff "
        "and Shazeer, Noam and Fedus, William",
        "ST-MoE: Designing Stable and Transferable Sparse Expert Models",
        2022,
        _arxiv("2202.08906"),
    ),
    "kurtz2020fatrelu": (
        "Kurtz, Mark and Kopinsky, Justin and Gelashvili, Rati and Matveev, Alexander and Carr, John and Goin, Michael "
        "and Leiserson, William and Moore, Sage and Shavit, Nir and Alistarh, Dan",
        "Inducing and Exploiting Activation Sparsity for Fast Inference on Deep Neural Networks",
        2020,
        _icml("37th", 119) | {"pages": "5533--5543"},
    ),
    "makhzani2015kwta": (
        "Makhzani, Alireza and Frey, Brendan",
        "Winner-Take-All Autoencoders",
        2015,
        _nips(28),
    ),
    # Storage and execution.
    "han2016deepcompression": (
        "Han, Song and Mao, Huizi and Dally, William J.",
        "Deep Compression: Compressing Deep Neural Networks with Pruning, Trained Quantization and Huffman Coding",
        2016,
        _in(_ICLR),
    ),
    "mishra2021": (
        "Mishra, Asit and Latorre, Jorge Albericio and Pool, Jeff and Stosic, Darko and Stosic, Dusan "
        "and Venkatesh, Ganesh and Yu, Chong and Micikevicius, Paulius",
        "Accelerating Sparse Deep Neural Networks",
        2021,
        _arxiv("2104.08378"),
    ),
    "hubara2021transposable": (
        "Hubara, Itay and Chmiel, Brian and Island, Moshe and Banner, Ron and Naor, Joseph and Soudry, Daniel",
        "Accelerated Sparse Neural Training: A Provable and Efficient Method to Find N:M Transposable Masks",
        2021,
        _nips(34) | {"pages": "21099--21111"},
    ),
}


def _bibtex(key: str, authors: str, title: str, year: int, where: dict[str, str | int]) -> str:
    kind = "article" if "journal" in where else "inproceedings" if "booktitle" in where else "misc"
    fields = {"title": f"{{{title}}}", "author": authors, **where, "year": year}
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
    return "\n".join([f"@{kind}{{{key},", *lines, "}"])


BIBTEX: dict[str, str] = {key: _bibtex(key, *paper) for key, paper in _PAPERS.items()}


def cite(key: str) -> str:
    """The BibTeX entry of the paper that docstrings and methods name by `key`, such as `evci2020rigl`.

    Raises:
        ValueError: no paper has this key; the message names the nearest ones.
    """
    if key not in BIBTEX:
        near = difflib.get_close_matches(key, BIBTEX, n=3, cutoff=0.3) or sorted(BIBTEX)
        raise ValueError(f"no paper has the key {key!r}; did you mean {', '.join(near)}?")
    return BIBTEX[key]
