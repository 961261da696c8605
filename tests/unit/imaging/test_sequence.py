"""Names as scanners and sites write them."""

from __future__ import annotations

import pytest
from pydicom import Dataset

from scan2gene.imaging.index import index
from scan2gene.imaging.multiframe import enhanced_header
from scan2gene.imaging.sequence import SEQUENCES, recognise, without_time_points

NAMES = {
    "T1": "AX T1|t1_se_tra|SAG T1 FLAIR|Ax T1 FSE pre|3D T1 MPRAGE|t1_mprage_sag_p2_iso|T1 W/O|AX T1 PRE GD|T1COR|BRAVO"
    "|T1w|t1_fl3d_tra non-contrast|T1 CUBE|T1 COR|AX 3D SPGR|T1WI TRA NATIV|WATER: t1_vibe|T1 SAG NC"
    "|t1_mprage_fmri",
    "T1c": "AX T1 POST|T1post|t1c|T1CE|t1ce|T1+C|AX T1 +C|T1 GD|T1 C+|AX T1 FSE POST GAD|T1_MPRAGE_GD|t1gd|T1 FS POST"
    "|SAG T1 CE|t1_mprage_km|T1 CONTRAST|T1w_ce|ce-gadolinium_T1w|3D T1 POST|T1 fl3d delayed",
    "T2": "AX T2|t2_tse_tra|T2 FS|STIR|AX STIR|T2w|HASTE|t2_space|T2 PROPELLER",
    "FLAIR": "AX FLAIR|T2 FLAIR|t2_tirm_tra_dark-fluid|FLAIR +C|t2_flair|CUBE T2 FLAIR|FLAIRreg",
    "DWI": "DWI|ep2d_diff_3scan_trace|AX DWI b1000|DTI 30 dir|dwi_b0|RESOLVE|TRACEW",
    "ADC": "ADC|ep2d_diff_ADC|Apparent Diffusion Coefficient|dADC map|eADC",
    "DCE": "DCE|dyn_ph1|AX VIBRANT DYNAMIC|t1_fl3d_dynaVIEWS DYN|Ph2/AX VIBRANT|TWIST",
    "other": "LOCALIZER|3-plane loc|Scout|SUB|T1 SUB|MIP|SWI|T2*|GRE T2|DSC perf|rCBV|TOF 3D|FA|ColFA|ASL"
    "|resting|mask|seg|B0 map|gre_field_mapping|SpinEchoFieldMap_AP|fmap_magnitude|T1 map|T2 mapping|sub-01_phasediff"
    "|REST1 w SMS|fMRI run 2",
}
FAST = {"RepetitionTime": "500", "EchoTime": "7"}  # T1-weighted, as far as timing tells


@pytest.mark.parametrize(("sequence", "name"), [(s, n) for s, names in NAMES.items() for n in names.split("|")])
def test_descriptions_are_recognised_with_their_rule(sequence, name):
    found, rule = recognise({"SeriesDescription": name})
    assert found == sequence, rule
    assert rule
    assert found in SEQUENCES


@pytest.mark.parametrize(
    ("header", "sequence", "words"),
    [
        ({"SeriesDescription": "AX T1", "ContrastBolusAgent": "GADAVIST"}, "T1c", "agent"),
        ({"SeriesDescription": "AX T1 PRE", "ContrastBolusAgent": "GADAVIST"}, "T1", "pre"),
        ({"SeriesDescription": "AX T1", "ContrastBolusAgent": "NONE"}, "T1", "nothing says contrast"),
        ({"SeriesDescription": "series 5", "ProtocolName": "AX T2"}, "T2", "ProtocolName"),
        ({"ImageType": "DERIVED\\PRIMARY\\ADC"}, "ADC", "ImageType"),
        ({"ImageType": "ORIGINAL\\PRIMARY\\DIFFUSION\\NONE"}, "DWI", "ImageType"),
        ({"DiffusionBValue": "800.0"}, "DWI", "800"),
        ({"DiffusionBValue": "0.0", "RepetitionTime": "500", "EchoTime": "10"}, "T1", "TR 500 ms"),
        ({"RepetitionTime": "9000", "EchoTime": "120", "InversionTime": "2500"}, "FLAIR", "TI 2500 ms"),
        ({"RepetitionTime": "4000", "EchoTime": "90"}, "T2", "TE 90 ms"),
        ({"RepetitionTime": "550", "EchoTime": "12", "ContrastBolusAgent": "Gd"}, "T1c", "agent"),
        ({"RepetitionTime": "3000", "EchoTime": "15"}, "other", "neither"),
        (FAST | {"ScanningSequence": "EP"}, "other", "EP"),
        (FAST | {"ScanningSequence": "SE\\EP"}, "other", "EP"),
        (FAST | {"SequenceName": "*epfid2d1_64"}, "other", "SequenceName"),
        (FAST | {"SequenceName": "*epfid2d1_64", "SeriesDescription": "T1"}, "T1", "SeriesDescription"),
        (FAST | {"ImageType": "ORIGINAL\\PRIMARY\\P\\ND"}, "other", "ImageType has P"),
        (FAST | {"ImageType": "ORIGINAL\\PRIMARY\\PHASE MAP\\P\\FFE"}, "other", "ImageType"),
        (
            FAST | {"ImageType": "ORIGINAL\\PRIMARY\\P\\ND", "SeriesDescription": "t1_mprage"},
            "other",
            "ImageType has P",
        ),
        (FAST | {"ImageType": "DERIVED\\PRIMARY\\DCE\\SER"}, "other", "SER"),
        (FAST | {"SeveralEchoes": "True"}, "other", "field map"),
        (FAST | {"ImageType": "ORIGINAL\\PRIMARY\\M\\ND"}, "T1", "TR 500 ms"),
        ({"RepetitionTime": "x", "EchoTime": ""}, "other", "no name or timing"),
        ({}, "other", "no name or timing"),
    ],
)
def test_headers_decide_where_names_do_not(header, sequence, words):
    found, rule = recognise(header)
    assert (found, words in rule) == (sequence, True), rule


def test_a_real_glioblastoma_exam(shared_data):
    table = index(shared_data / "tcia_brain_tumor_progression_dicom" / "Study3")
    found = {
        p.split("#")[0].rsplit("/", 1)[1].split("-")[1]: s
        for p, s in zip(table["path"], table["sequence"], strict=True)
    }
    assert found == {"T1post": "T1c", "T1prereg": "T1", "FLAIRreg": "FLAIR", "T2reg": "T2"}


def test_79_real_glioma_patients(shared_data):
    table = index(shared_data / "tcga_lgg" / "images")
    assert table["sequence"].value_counts().to_dict() == {"FLAIR": 79, "other": 79, "T1": 74, "T1c": 71}


@pytest.mark.parametrize(
    ("names", "rest"),
    [
        (["t0", "t1", "t2"], {"t0": "", "t1": "", "t2": ""}),
        (["t1", "t2", "t2_flair", "t1c"], {}),  # T1 and T2
        (["p_t1", "p_t2", "p_t3"], {"p_t1": "p_", "p_t2": "p_", "p_t3": "p_"}),
        (["T0_t1", "T0_t2", "T1_t1", "T1_t2"], {"T0_t1": "_t1", "T0_t2": "_t2", "T1_t1": "_t1", "T1_t2": "_t2"}),
    ],
)
def test_numbered_time_points_are_no_weightings(names, rest):
    assert without_time_points([("exam", n) for n in names]) == {("exam", n): r for n, r in rest.items()}


def test_an_exam_that_lacks_its_first_phase_is_named_as_the_others():
    names = [(f"P{n}", f"t{k}") for n in range(5) for k in (range(3) if n else (1, 2))]
    assert set(without_time_points(names)) == set(names)


def test_three_phases_of_real_patients_are_no_t1_and_t2(shared_data):
    folders = sorted((shared_data / "breast_dce_phases" / "images").iterdir())[:3]
    table = index(folders)
    assert len(table) == 9
    assert set(table["sequence"]) == {"other"}
    assert table["sequence_rule"].str.contains("time points").all()


def test_both_echoes_of_a_field_map_are_no_t1(write_series):
    def echo(n, data):
        data.EchoTime, data.RepetitionTime, data.ScanningSequence = (4.92, 7.38)[n // 5], 488, "GR"

    table = index(write_series(n=10, positions=[(0, 0, 3.0 * (n % 5)) for n in range(10)], change=echo))
    assert table["sequence"].tolist() == ["other", "other"]


def test_an_enhanced_echo_planar_image_says_so_elsewhere():
    data = Dataset()
    data.EchoPlanarPulseSequence = "YES"
    assert enhanced_header({}, data)["ScanningSequence"] == "EP"
