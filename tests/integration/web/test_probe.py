import pytest
from fastapi.testclient import TestClient
from app.web.application import create_web
FEED="/v1/feeds/btc-usdt-4h"
import base64
def c(x): return base64.urlsafe_b64encode(x.encode("utf-8","surrogatepass")).decode()
P=[("GET",f"{FEED}/{r}?{q}") for r in ("predictions","outcomes","track-record","candles","latest") for q in (
 "start=0001-01-01T00:00:00%2B14:00","end=9999-12-31T23:59:59-14:00","start=9999999999999&end=9999999999999","start=0001-01-01","start=%00","start=%ED%A0%80","start=","start=1&start=2025-09-15","limit=1&limit=2","limit=1e2","limit=99999999999999999999","limit=%00","cursor=%00","cursor=","cursor=%FF","cursor="+c("0:\0"),"cursor="+c("5:"+"a"*32),"cursor="+c("9223372036854775807:"+"a"*32),"cursor="+c("9223372036854775808:"+"a"*32),"order=arrival&cursor="+c("9223372036854775807:"),"order=arrival&cursor="+c("-1:"),"cursor=999999999999999","cursor=٣","step=0","step=60&venue=%00","venue=","venue=%ED%A0%80","origin=%00","step=99999999999999999999999","max_age=1e999","max_age=nan","max_age=1e9","max_age=1e-320","max_age=","include=%00","include=,,","include=proof&include=calldata","proved=maybe","start=-1","start=2025-09-15T12:00:00.123456789Z","start=2025-W38-1", "start=1757937600000&end=1757937600000","cursor="+c("٣:"+"a"*32),"cursor="+c("1_0:"+"a"*32), "start=%EF%BC%91757937600000", "start=2025-09-15T12:00:00%EF%BC%8B00:00")]
P+=[("GET",x) for x in ("/v1/predictions/%00","/v1/predictions/"+"a"*31+"%00","/v1/predictions/%ED%A0%80/proof","/v1/predictions/a%2Fb/bundle","/v1/predictions/"+"A"*32,"/v1/predictions/"+"a"*32+"%0A","/v1/predictions//proof","/v1/feeds/%00","/v1/feeds/btc-usdt-4h%2Flatest","/v1/feeds/btc-usdt-4h%2f","/v1/feeds/btc-usdt-4h/","/v1/feeds/%FF/latest","/v1/models/%00","/v1/srs/%00","/v1/srs/..%2f..%2fetc%2fpasswd","/assets/..%2f..%2fschemas.py","/assets/%00","/assets/nothing.js","/predictions/%00","/v1/feeds/"+"a"*5000,"/v1/stream?last_event_id=-1","/v1/stream?last_event_id=%00","/v1/stream?kinds=%00","/v1/stream?feed=%00","/v1/stream?last_event_id=999999999999999999999", "//v1/feeds", "/docs", "/", "/openapi.json")]
for m in ("HEAD","OPTIONS","PUT","DELETE","TRACE","PATCH","FOO"):
    P+=[(m,x) for x in ("/v1/feeds",f"{FEED}/latest","/v1/verify","/v1/stream","/","/assets/x","/openapi.json","/nowhere")]
def test_probe(furnished_role):
    out=[]
    with TestClient(create_web(furnished_role),raise_server_exceptions=False) as client:
        for m,x in P:
            try:
                a=client.request(m,x)
            except Exception as e:
                out.append((m,x,"EXC",repr(e)[:100])); continue
            t=a.headers.get("content-type"); bad = a.status_code>=500 or (a.status_code>=400 and t!="application/problem+json")
            out.append((("!!" if bad else "  "),m,x[:110],a.status_code,t,a.headers.get("allow"),(a.json().get("detail") if t=="application/problem+json" and m!="HEAD" else "")))
        for h,b in (({"content-type":"text/plain"},b"{}"),({"content-type":"application/json; charset=utf-16"},b"{}"),({"content-encoding":"gzip"},b"{}"),({"content-type":"multipart/form-data"},b"x"),({},b'{"a":"\\ud800"}'),({},b"\xff\xfe"),({},b'{"format":1e400}'),({},b'nul\0'),):
            a=client.post("/v1/verify",content=b,headers=h); out.append(("","POST",str(h)+repr(b),a.status_code,a.headers.get("content-type"),a.text[:150]))
        for h in ({"accept":"text/html"},{"accept":"x"},{"accept-encoding":"gzip;q=0"},{"if-none-match":"\xff"},{"if-none-match":"*"},{"last-event-id":"\xb2"},{"range":"bytes=0-3"},{"range":"bytes=99999999999-"},{"range":"x"},{"content-length":"3"}):
            for x in (f"{FEED}/latest","/v1/srs/"+furnished_role.feeds["btc-usdt-4h"].keys.srs_hash,"/v1/stream?kinds=x","/"):
                try: a=client.get(x,headers=[(k.encode(),v.encode("latin-1")) for k,v in h.items()])
                except Exception as e: out.append(("EXC",h,x,repr(e)[:100])); continue
                out.append((("!!" if a.status_code>=400 and a.headers.get("content-type")!="application/problem+json" else ""),"GET",x[:40],str(h),a.status_code,a.headers.get("content-type")))
    for o in out: print(*o)
