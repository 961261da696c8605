"""What the Methods and the cards cite, as BibTeX fields by key.

Written down from the works' own title pages; a value is what BibTeX prints. `bibtex` writes those that a
text cites, so that no reference stands in a paper that used nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterable

_ARTICLE, _TALK, _BOOK = "article", "inproceedings", "book"


def _article(author: str, title: str, journal: str, year: int, volume: str, pages: str, **more: str) -> dict[str, str]:
    return {"": _ARTICLE, "author": author, "title": title, "journal": journal, "year": str(year), "volume": volume,
            "pages": pages, **more}  # fmt: skip


def _talk(author: str, title: str, booktitle: str, year: int, pages: str = "", **more: str) -> dict[str, str]:
    return {"": _TALK, "author": author, "title": title, "booktitle": booktitle, "year": str(year), "pages": pages,
            **more}  # fmt: skip


def _arxiv(author: str, title: str, number: str, year: int) -> dict[str, str]:
    return {"": _ARTICLE, "author": author, "title": title, "journal": f"arXiv:{number}", "year": str(year)}


REFERENCES: dict[str, dict[str, str]] = {
    # statistics
    "Efron1987": _article("Efron, B", "Better bootstrap confidence intervals",
                          "Journal of the American Statistical Association", 1987, "82", "171--185"),
    "Holm1979": _article("Holm, S", "A simple sequentially rejective multiple test procedure",
                         "Scandinavian Journal of Statistics", 1979, "6", "65--70"),
    "Phipson2010": _article("Phipson, B and Smyth, G K", "Permutation P-values should never be zero",
                            "Statistical Applications in Genetics and Molecular Biology", 2010, "9", "39"),
    "Ojala2010": _article("Ojala, M and Garriga, G C", "Permutation tests for studying classifier performance",
                          "Journal of Machine Learning Research", 2010, "11", "1833--1863"),
    "Hanley1982": _article("Hanley, J A and McNeil, B J", "The meaning and use of the area under a receiver operating "
                           "characteristic (ROC) curve", "Radiology", 1982, "143", "29--36"),
    "Nadeau2003": _article("Nadeau, C and Bengio, Y", "Inference for the generalization error", "Machine Learning",
                           2003, "52", "239--281"),
    "Cox1958": _article("Cox, D R", "Two further applications of a model for binary regression", "Biometrika", 1958,
                        "45", "562--565"),
    "VanCalster2019": _article("Van Calster, B and McLernon, D J and van Smeden, M and Wynants, L and Steyerberg, E W",
                               "Calibration: the {Achilles} heel of predictive analytics", "BMC Medicine", 2019, "17",
                               "230"),
    "Naeini2015": _talk("Naeini, M P and Cooper, G F and Hauskrecht, M", "Obtaining well calibrated probabilities "
                        "using {Bayesian} binning", "AAAI Conference on Artificial Intelligence", 2015, "2901--2907"),
    "Murphy1973": _article("Murphy, A H", "A new vector partition of the probability score",
                           "Journal of Applied Meteorology", 1973, "12", "595--600"),
    "Guo2017": _talk("Guo, C and Pleiss, G and Sun, Y and Weinberger, K Q", "On calibration of modern neural networks",
                     "International Conference on Machine Learning", 2017, "1321--1330"),
    "Platt1999": _talk("Platt, J C", "Probabilistic outputs for support vector machines and comparisons to regularized "
                       "likelihood methods", "Advances in Large Margin Classifiers", 1999, "61--74"),
    "Zadrozny2002": _talk("Zadrozny, B and Elkan, C", "Transforming classifier scores into accurate multiclass "
                          "probability estimates", "ACM SIGKDD International Conference on Knowledge Discovery and "
                          "Data Mining", 2002, "694--699"),
    "Vickers2006": _article("Vickers, A J and Elkin, E B", "Decision curve analysis: a novel method for evaluating "
                            "prediction models", "Medical Decision Making", 2006, "26", "565--574"),
    "ElYaniv2010": _article("El-Yaniv, R and Wiener, Y", "On the foundations of noise-free selective classification",
                            "Journal of Machine Learning Research", 2010, "11", "1605--1641"),
    "Vovk2005": {"": _BOOK, "author": "Vovk, V and Gammerman, A and Shafer, G",
                 "title": "Algorithmic learning in a random world", "publisher": "Springer", "year": "2005"},
    # preparation of images
    "Unser1999": _article("Unser, M", "Splines: a perfect fit for signal and image processing",
                          "IEEE Signal Processing Magazine", 1999, "16", "22--38", number="6"),
    "Mattes2003": _article("Mattes, D and Haynor, D R and Vesselle, H and Lewellen, T K and Eubank, W",
                           "{PET-CT} image registration in the chest using free-form deformations",
                           "IEEE Transactions on Medical Imaging", 2003, "22", "120--128"),
    "Tustison2010": _article("Tustison, N J and Avants, B B and Cook, P A and Zheng, Y and Egan, A and Yushkevich, P A "
                             "and Gee, J C", "{N4ITK}: improved {N3} bias correction",
                             "IEEE Transactions on Medical Imaging", 2010, "29", "1310--1320"),
    "Tomasi1998": _talk("Tomasi, C and Manduchi, R", "Bilateral filtering for gray and color images",
                        "International Conference on Computer Vision", 1998, "839--846"),
    "Nyul2000": _article("Ny{\\'u}l, L G and Udupa, J K and Zhang, X", "New variants of a method of {MRI} scale "
                         "standardization", "IEEE Transactions on Medical Imaging", 2000, "19", "143--150"),
    # networks
    "He2016": _talk("He, K and Zhang, X and Ren, S and Sun, J", "Deep residual learning for image recognition",
                    "IEEE Conference on Computer Vision and Pattern Recognition", 2016, "770--778"),
    "Hara2018": _talk("Hara, K and Kataoka, H and Satoh, Y", "Can spatiotemporal {3D CNNs} retrace the history of {2D} "
                      "{CNNs} and {ImageNet}?", "IEEE Conference on Computer Vision and Pattern Recognition", 2018,
                      "6546--6555"),
    "Chen2019": _arxiv("Chen, S and Ma, K and Zheng, Y", "{Med3D}: transfer learning for {3D} medical image analysis",
                       "1904.00625", 2019),
    "Bai2024": _arxiv("Bai, F and Du, Y and Huang, T and Meng, M Q-H and Zhao, B", "{M3D}: advancing {3D} medical "
                      "image analysis with multi-modal large language models", "2404.00578", 2024),
    "Liu2022": _talk("Liu, Z and Ning, J and Cao, Y and Wei, Y and Zhang, Z and Lin, S and Hu, H",
                     "Video {Swin} transformer", "IEEE/CVF Conference on Computer Vision and Pattern Recognition",
                     2022, "3202--3211"),
    "Krizhevsky2012": _talk("Krizhevsky, A and Sutskever, I and Hinton, G E", "{ImageNet} classification with deep "
                            "convolutional neural networks", "Advances in Neural Information Processing Systems",
                            2012, "1097--1105"),
    "Hu2018": _talk("Hu, J and Shen, L and Sun, G", "Squeeze-and-excitation networks",
                    "IEEE/CVF Conference on Computer Vision and Pattern Recognition", 2018, "7132--7141"),
    "Woo2023": _talk("Woo, S and Debnath, S and Hu, R and Chen, X and Liu, Z and Kweon, I S and Xie, S",
                     "{ConvNeXt V2}: co-designing and scaling {ConvNets} with masked autoencoders",
                     "IEEE/CVF Conference on Computer Vision and Pattern Recognition", 2023, "16133--16142"),
    "Alkin2024": _arxiv("Alkin, B and Beck, M and P{\\\"o}ppel, K and Hochreiter, S and Brandstetter, J",
                        "Vision-{LSTM}: {xLSTM} as generic vision backbone", "2406.04303", 2024),
    "Dosovitskiy2021": _talk("Dosovitskiy, A and Beyer, L and Kolesnikov, A and others", "An image is worth 16x16 "
                             "words: transformers for image recognition at scale",
                             "International Conference on Learning Representations", 2021),
    "Ilse2018": _talk("Ilse, M and Tomczak, J M and Welling, M", "Attention-based deep multiple instance learning",
                      "International Conference on Machine Learning", 2018, "2127--2136"),
    # training
    "Kingma2015": _talk("Kingma, D P and Ba, J", "Adam: a method for stochastic optimization",
                        "International Conference on Learning Representations", 2015),
    "Loshchilov2019": _talk("Loshchilov, I and Hutter, F", "Decoupled weight decay regularization",
                            "International Conference on Learning Representations", 2019),
    "Zhang2018": _talk("Zhang, H and Cisse, M and Dauphin, Y N and Lopez-Paz, D", "mixup: beyond empirical risk "
                       "minimization", "International Conference on Learning Representations", 2018),
    "Akiba2019": _talk("Akiba, T and Sano, S and Yanase, T and Ohta, T and Koyama, M", "Optuna: a next-generation "
                       "hyperparameter optimization framework", "ACM SIGKDD International Conference on Knowledge "
                       "Discovery and Data Mining", 2019, "2623--2631"),
    "Paszke2019": _talk("Paszke, A and Gross, S and Massa, F and others", "{PyTorch}: an imperative style, "
                        "high-performance deep learning library", "Advances in Neural Information Processing Systems",
                        2019, "8024--8035"),
    # maps
    "Draelos2020": _arxiv("Draelos, R L and Carin, L", "Use {HiResCAM} instead of {Grad-CAM} for faithful explanations "
                          "of convolutional neural networks", "2011.08891", 2020),
    "Selvaraju2017": _talk("Selvaraju, R R and Cogswell, M and Das, A and Vedantam, R and Parikh, D and Batra, D",
                           "{Grad-CAM}: visual explanations from deep networks via gradient-based localization",
                           "International Conference on Computer Vision", 2017, "618--626"),
    "Chattopadhay2018": _talk("Chattopadhay, A and Sarkar, A and Howlader, P and Balasubramanian, V N", "{Grad-CAM++}: "
                              "generalized gradient-based visual explanations for deep convolutional networks",
                              "IEEE Winter Conference on Applications of Computer Vision", 2018, "839--847"),
    "Smilkov2017": _arxiv("Smilkov, D and Thorat, N and Kim, B and Vi{\\'e}gas, F and Wattenberg, M",
                          "{SmoothGrad}: removing noise by adding noise", "1706.03825", 2017),
    "Sundararajan2017": _talk("Sundararajan, M and Taly, A and Yan, Q", "Axiomatic attribution for deep networks",
                              "International Conference on Machine Learning", 2017, "3319--3328"),
    "Erion2021": _article("Erion, G and Janizek, J D and Sturmfels, P and Lundberg, S M and Lee, S-I", "Improving "
                          "performance of deep learning models with axiomatic attribution priors and expected "
                          "gradients", "Nature Machine Intelligence", 2021, "3", "620--631"),
    "Zeiler2014": _talk("Zeiler, M D and Fergus, R", "Visualizing and understanding convolutional networks",
                        "European Conference on Computer Vision", 2014, "818--833"),
    "Adebayo2018": _talk("Adebayo, J and Gilmer, J and Muelly, M and Goodfellow, I and Hardt, M and Kim, B",
                         "Sanity checks for saliency maps", "Advances in Neural Information Processing Systems", 2018,
                         "9505--9515"),
    # features
    "Griethuysen2017": _article("van Griethuysen, J J M and Fedorov, A and Parmar, C and others", "Computational "
                                "radiomics system to decode the radiographic phenotype", "Cancer Research", 2017, "77",
                                "e104--e107", doi="10.1158/0008-5472.CAN-17-0339"),
    "Zwanenburg2020": _article("Zwanenburg, A and Valli{\\`e}res, M and Abdalah, M A and others", "The image biomarker "
                               "standardization initiative: standardized quantitative radiomics for high-throughput "
                               "image-based phenotyping", "Radiology", 2020, "295", "328--338",
                               doi="10.1148/radiol.2020191145"),
    # sites
    "Johnson2007": _article("Johnson, W E and Li, C and Rabinovic, A", "Adjusting batch effects in microarray "
                            "expression data using empirical {Bayes} methods", "Biostatistics", 2007, "8",
                            "118--127"),
    "Fortin2018": _article("Fortin, J-P and Cullen, N and Sheline, Y I and others", "Harmonization of cortical "
                           "thickness measurements across scanners and sites", "NeuroImage", 2018, "167", "104--120"),
    "Ganin2016": _article("Ganin, Y and Ustinova, E and Ajakan, H and others", "Domain-adversarial training of neural "
                          "networks", "Journal of Machine Learning Research", 2016, "17", "1--35"),
    # how to report
    "Tejani2024": _article("Tejani, A S and Klontzas, M E and Gatti, A A and Mongan, J T and Moy, L and Park, S H and "
                           "Kahn, C E", "Checklist for artificial intelligence in medical imaging ({CLAIM}): 2024 "
                           "update", "Radiology: Artificial Intelligence", 2024, "6", "e240300",
                           doi="10.1148/ryai.240300"),
    "Collins2024": _article("Collins, G S and Moons, K G M and Dhiman, P and others", "{TRIPOD+AI} statement: updated "
                            "guidance for reporting clinical prediction models that use regression or machine "
                            "learning methods", "BMJ", 2024, "385", "e078378", doi="10.1136/bmj-2023-078378"),
    "Mitchell2019": _talk("Mitchell, M and Wu, S and Zaldivar, A and others", "Model cards for model reporting",
                          "Conference on Fairness, Accountability, and Transparency", 2019, "220--229"),
    "Gebru2021": _article("Gebru, T and Morgenstern, J and Vecchione, B and others", "Datasheets for datasets",
                          "Communications of the ACM", 2021, "64", "86--92", number="12"),
    "Pushkarna2022": _talk("Pushkarna, M and Zaldivar, A and Kjartansson, O", "Data cards: purposeful and transparent "
                           "dataset documentation for responsible {AI}",
                           "ACM Conference on Fairness, Accountability, and Transparency", 2022, "1776--1826"),
}  # fmt: skip

GUIDELINES = ("Tejani2024", "Collins2024", "Mitchell2019", "Gebru2021", "Pushkarna2022")


def bibtex(keys: Iterable[str]) -> str:
    """A BibTeX file of some references, in the order given, each once."""
    entries = []
    for key in dict.fromkeys(keys):
        fields = {name: value for name, value in REFERENCES[key].items() if name and value}
        inside = "".join(f",\n  {name} = {{{value}}}" for name, value in fields.items())
        entries.append(f"@{REFERENCES[key]['']}{{{key}{inside}\n}}\n")
    return "\n".join(entries)


def in_words(key: str) -> str:
    """A reference on one line, for readers."""
    entry = {name: _plain(value) for name, value in REFERENCES[key].items()}
    where = entry.get("journal") or entry.get("booktitle") or entry.get("publisher", "")
    first = entry["author"].split(" and ")
    names = f"{first[0].split(',')[0]} et al." if len(first) > 2 else " and ".join(n.split(",")[0] for n in first)
    place = " ".join(p for p in (entry.get("volume", ""), entry.get("pages", "").replace("--", "–")) if p)
    doi = f", doi {entry['doi']}" if "doi" in entry else ""
    return f"{names} {entry['year']}, {entry['title']}. {where}{' ' + place if place else ''}{doi}."


def _plain(value: str) -> str:
    for tex, letter in (("{\\'u}", "ú"), ("{\\'e}", "é"), ('{\\"o}', "ö")):
        value = value.replace(tex, letter)
    return value.replace("{", "").replace("}", "")
