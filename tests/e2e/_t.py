import time
from tests.e2e.browser import *
INIT="""globalThis.wide=[]; (function f(){ if (document.documentElement && document.documentElement.scrollWidth>innerWidth) wide.push([Math.round(performance.now()), document.documentElement.scrollWidth, [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth+1 && !e.closest('.scroll')).map(e => e.localName+'#'+e.id+'.'+e.getAttribute('class')+' '+Math.round(e.getBoundingClientRect().right)+' '+e.textContent.slice(0,50))]); requestAnimationFrame(f)})()"""
with chromium() as b, opened(b,"http://127.0.0.1:8461") as visit:
  for i in range(5):
    x=visit("about:blank",(360,740)); x.page.add_init_script(INIT); x.page.goto("http://127.0.0.1:8461/")
    time.sleep(3)
    w=x.page.evaluate("wide"); print(len(w), w[:2], w[-1:] )
