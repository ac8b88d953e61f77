from danlu.core.rooms import verb

verb(__name__)
