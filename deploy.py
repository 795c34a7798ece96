"""The whole product on one page: what each kind of host gets, and in which order.

The order is what makes a deploy safe on a live cluster. Servers are prepared for the new way and the old; directors change,
passive ones first, the active one last; only then is what nobody uses any more taken away. `lbctl deploy` goes the same way.
"""

from pyinfra import host

from operations import director, gate, observation, packages, real_server, trial

is_director = "directors" in host.groups

if is_director:
    director.refuse_locked()
    director.refuse_hand_edited()
    director.refuse_other_file()
    director.refuse_moving_gateway()
    trial.clear()
packages.refuse_taken_tables()
packages.refuse_lost_lease()
packages.install()

if is_director:
    director.float_first()

gate.reached(name="gate: the gateway is there")

if not is_director:
    real_server.prepare()
    real_server.restart()

gate.reached(name="gate: servers are prepared")

if is_director:
    director.stand_down()

for turn in host.loop(range(len(observation.blueprint(host).declaration.director))):
    gate.passed(name="gate: servers are ready")
    if is_director and director.turn() == turn:
        director.configure()

gate.reached(name="gate: directors are done")

if is_director:
    director.withdraw()

gate.reached(name="gate: nobody is sent the old way")

if is_director:
    director.retire()
else:
    real_server.retire()
