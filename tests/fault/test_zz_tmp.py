import pytest
from tests.fault import test_kill
from tests.fault.test_kill import database, collector
import threading, time, psycopg
@pytest.mark.parametrize("n", range(8))
def test_it(fault_servers, database, collector, n):
    slow=[]
    stop=threading.Event()
    def watch():
        while not stop.wait(1):
            try:
                with psycopg.connect(database, connect_timeout=1) as c:
                    for r in c.execute("select now()-query_start, wait_event_type, wait_event, state, application_name, left(query,300) from pg_stat_activity where datname=current_database() and pid<>pg_backend_pid() and state<>'idle' and now()-query_start > interval '3 s'").fetchall(): slow.append(r)
            except Exception as e: pass
    t=threading.Thread(target=watch); t.start()
    started=time.time()
    try:
        test_kill.test_a_killed_database_loses_and_repeats_nothing(fault_servers, database, collector, 6000)
    except BaseException:
        print(collector.log.read_text()); raise
    finally:
        stop.set(); t.join()
        print("TOOK", n, time.time()-started, slow[:3], slow[-3:])
