"""Sites of users, from files."""

import numpy as np
import pytest

from offprint.federated_mlo._radio import Band, Radio
from offprint.federated_mlo._site import read_rssi, read_site

ONE_BAND = Radio(bands=(Band(5.25, 80),))


def write(folder, text, name="site.csv"):
    path = folder / name
    path.write_text(text)
    return path


def test_access_points_and_stations(tmp_path):
    path = write(
        tmp_path,
        "ap_id, x, y, floor, sta_x, sta_y, channel_5, channel_6\n"
        "lobby, 0, 0, 1, 2, 2, 36, 5\n"
        "hall, 12.5, 0, 1, 11, 3, 36, 21\n",
    )
    site = read_site(path)
    assert site.names == ("lobby", "hall")
    np.testing.assert_array_equal(site.ap, [[0, 0], [12.5, 0]])
    np.testing.assert_array_equal(site.sta, [[2, 2], [11, 3]])
    np.testing.assert_array_equal(site.channels, [[36, 5], [36, 21]])
    topology = site.topology(Radio(bands=(Band(5.18, 80), Band(6.1, 80))))
    assert topology.adj[0, 0, 1]
    assert not topology.adj[1, 0, 1]
    with pytest.raises(ValueError, match="2 channels per AP and the radio 3 bands"):
        site.topology()


def test_a_station_is_assumed_where_none_is_given(tmp_path):
    site = read_site(write(tmp_path, "ap_id,x,y\na,0,0\nb,10,5\n"))
    np.testing.assert_array_equal(site.sta - site.ap, [[5, 0], [5, 0]])
    assert site.channels is None
    assert site.topology().cap.shape == (2, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ap_id,x\na,1\n", r"site\.csv has no column y"),
        ("ap_id,x,y\n", "no rows below its header"),
        ("ap_id,x,y\na,1,2\nb,one,2\n", r"line 3: x is 'one', which is no number"),
        ("ap_id,x,y\na,1,2\nb,1\n", r"line 3: y is None, which is no number"),
        ("ap_id,x,y\na,1,2\na,3,4\n", "line 3: AP a has a row above already"),
        ("ap_id,x,y,sta_x\na,1,2,3\n", "one of the columns sta_x and sta_y"),
    ],
)
def test_what_is_wrong_with_a_site(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_site(write(tmp_path, text))


def test_measured_powers_from_both_kinds_of_file(tmp_path):
    rows = ["0,0,1,-75", "0,1,0,-77", "0,0,0,-50", "0,1,1,-60", "0,2,2,-55", "0,2,1,-90"]
    measured = read_rssi(write(tmp_path, "link,receiver,sender,rssi\n" + "\n".join(rows) + "\n"))
    assert measured.rssi.shape == (1, 3, 3)
    assert np.isnan(measured.rssi[0, 0, 2])
    assert np.isnan(measured.rssi[0, 0, 0])
    np.testing.assert_array_equal(measured.station_rssi, [[-50], [-60], [-55]])
    topology = measured.topology(ONE_BAND)
    np.testing.assert_array_equal(np.argwhere(np.triu(topology.adj[0])), [[0, 1]])
    np.savez(tmp_path / "measured.npz", rssi=measured.rssi, station_rssi=measured.station_rssi)
    again = read_rssi(tmp_path / "measured.npz")
    np.testing.assert_array_equal(again.rssi, measured.rssi)
    assert again.names == ("BSS 0", "BSS 1", "BSS 2")


def test_what_is_wrong_with_measurements(tmp_path):
    with pytest.raises(ValueError, match="has no column sender"):
        read_rssi(write(tmp_path, "link,receiver,rssi\n0,0,-50\n"))
    with pytest.raises(ValueError, match=r"line 2: link is 0\.5; whole numbers from 0"):
        read_rssi(write(tmp_path, "link,receiver,sender,rssi\n0.5,0,0,-50\n"))
    np.savez(tmp_path / "a.npz", rssi=np.zeros((1, 2, 2)))
    with pytest.raises(ValueError, match="has no array station_rssi"):
        read_rssi(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", rssi=np.zeros((1, 2, 2)), station_rssi=np.zeros((1, 2)))
    with pytest.raises(ValueError, match=r"rssi of shape \(1, 2, 2\) and station_rssi of shape \(1, 2\)"):
        read_rssi(tmp_path / "b.npz")
