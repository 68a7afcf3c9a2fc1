"""Columns: what people's and tokens' tables call a member in another language, and the words that stand in it.

Each line is one English name, as readers ask for it, and what Europe's languages in Latin letters say for it: German,
French, Spanish, Portuguese, Italian, Dutch, Swedish, Danish, Norwegian, Finnish, Polish, Czech, Hungarian, Romanian,
Turkish. All without case, accents and punctuation, as `plain` writes them. Other scripts and languages: `scripts`.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from unicodedata import category, normalize

from taskbound.posture.exports import scripts

_NAMES = """
email: emailadresse mailadresse epostadresse correo correoelectronico courriel adressemail adresseemail
  adresseelectronique correocorporativo emailcorporativo emailprofessionnel emailaziendale postaelettronica
  indirizzoemail enderecoemail enderecodeemail emailadres epost epostadress eposta epostaadresi sahkoposti
  sahkopostiosoite adresemail adrespocztyelektronicznej emailcim adresademail
login: anmeldename benutzer utilisateur benutzerkennung kennung benutzerkonto identifiant identifiantutilisateur
  usuario usuariodered
  nomedeusuario nomeutente gebruikersnaam anvandarnamn brugernavn brukernavn kayttajatunnus nazwauzytkownika
  uzivatelskejmeno felhasznalonev utilizator kullaniciadi benutzername nomdutilisateur nombredeusuario utilizador
status: beschaeftigungsstatus mitarbeiterstatus beschaftigungsstatus statut estado estatus situacao situazione stato
  etat situacion estadolaboral stav stan tila allapot statusz stare durum statuszatrudnienia
active: aktiv actif activo attivo ativo actief aktywny aktywna aktivni activ aktif aktiivinen istaktiv
lefton: austritt austrittsdatum austrittam ausgeschiedenam ausscheiden ausscheidedatum letzterarbeitstag letztertag
  vertragsende beschaeftigungsende beschaftigungsende abgang abgangsdatum datedesortie datesortie sortie
  datededepart datedepart depart findecontrat datefincontrat datedefindecontrat datedefin fechadebaja fechabaja
  fechadesalida fechasalida fechacese fechadecese findecontrato fechafin ultimodia datadesaida datasaida
  datadedesligamento datadesligamento datademissao datadedemissao ultimodiadetrabalho datacessazione
  datadicessazione datauscita datadiuscita datafinerapporto finerapporto uitdienst uitdienstdatum datumuitdienst
  einddatum einddienst laatstewerkdag slutdatum sistadag anstallningensslut avslutsdatum fratraedelsesdato
  fratradelsesdato fratraedelse slutdato sluttdato sistearbeidsdag paattymispaiva viimeinentyopaiva paattymispvm
  datazwolnienia datazakonczenia dataodejscia datarozwiazaniaumowy datumodchodu datumukonceni ukoncenipomeru
  konecpomeru kilepes kilepesdatuma kilepesidatum kilepesnapja dataplecarii dataincetarii dataincetare istencikis
  istencikistarihi cikistarihi ayrilistarihi ayrilmatarihi
department: abteilung bereich kostenstelle departement departamento reparto ufficio dipartimento setor afdeling
  avdelning avdeling osasto dzial oddeleni osztaly szervezetiegyseg departament departman bolum
employeeid: personalnr personalnummer mitarbeiternr mitarbeiternummer matricule numeroempleado numerodeempleado
  legajo matricula personeelsnummer anstallningsnummer medarbejdernummer ansattnummer henkilonumero numerpracownika
  osobnicislo torzsszam
jobtitle: funktion stelle fonction puesto ruolo mansione functie befattning stilling tehtava stanowisko pozice
  beosztas functia unvan
manager: vorgesetzter vorgesetzte fuehrungskraft fuhrungskraft jefe leidinggevende
firstname: vorname prenom nombre nome voornaam fornamn fornavn etunimi imie jmeno keresztnev prenume
lastname: nachname familienname nomdefamille apellido apellidos sobrenome cognome achternaam efternamn efternavn
  etternavn sukunimi nazwisko prijmeni vezeteknev numedefamilie soyad soyadi
name: nombrecompleto nomcomplet nomecompleto nomecognome naam namn navn nimi nazwa jmenoaprijmeni nev nume adsoyad
  mitarbeiter mitarbeitername vollstaendigername vollstandigername
tokenname: tokenbezeichnung jeton nomdujeton nomjeton nombredeltoken nombretoken nomedotoken nometoken nomedeltoken
  tokennaam tokennamn tokennavn nazwatokenu nazevtokenu tokennev numetoken tokenadi tokenbenennung schluesselname
  schlusselname nomdelacle nombredelaclave nomedachave nomechiave nomedellachiave sleutelnaam nyckelnamn noglenavn
  nokkelnavn nazwaklucza nazevklice kulcsnev numecheie anahtaradi avaimennimi
accesskeyid: schlusselid schluesselid zugriffsschlussel zugriffsschlusselid zugriffsschluessel identifiantdecle
  idcledacces cledacces idclavedeacceso clavedeacceso idchavedeacesso chavedeacesso idchiavediaccesso toegangssleutel
  toegangssleutelid atkomstnyckel adgangsnogle tilgangsnokkel kluczdostepu identyfikatorklucza pristupovyklic
owner: besitzer besitzerin inhaber inhaberin eigentuemer eigentumer verantwortlich verantwortlicher ansprechpartner
  proprietaire titulaire responsable responsabile responsavel propietario titular proprietario dono eigenaar agare
  ejer eier omistaja wlasciciel vlastnik tulajdonos proprietar sahip sahibi
expires: ablaufdatum laeuftab lauftab gueltigbis gultigbis ablauf expiream dateexpiration datedexpiration expirele
  valableju valablejusquau fechadecaducidad caducidad caduca fechadeexpiracion fechadevencimiento vencimiento
  datadeexpiracao validade venceem datascadenza datadiscadenza scadenza vervaldatum verlooptop geldigtot giltigtill
  utgar udloeber udlober udlobsdato gyldigtil utloper utlopsdato voimassaasti vanhenee datawygasniecia waznedo
  wygasa platnostdo expirace lejarat ervenyesseg dataexpirarii sonkullanmatarihi bitistarihi gecerliliksonu
lastused: zuletztverwendet zuletztgenutzt letztenutzung letzteverwendung derniereutilisation dernierusage ultimouso
  ultimautilizacao ultimoutilizzo laatstgebruikt senastanvand sidstbrugt sistbrukt viimeksikaytetty ostatniouzyto
  ostatnieuzycie naposledypouzito utoljarahasznalva utoljara ultimautilizare sonkullanim
lastactivity: letzteaktivitat letzteaktivitaet letzteanderung derniereactivite ultimaactividad ultimaatividade
  ultimaattivita laatsteactiviteit senasteaktivitet sidsteaktivitet sisteaktivitet ostatniaaktywnosc posledniaktivita
created: erstellt erstelltam angelegt angelegtam creele creeele datedecreation datecreation fechadecreacion creadoel
  creadael datadecriacao criadoem criadaem datacreazione datadicreazione creatoil creatail aangemaakt aanmaakdatum
  skapad oprettet opprettet luotu utworzono datautworzenia vytvoreno letrehozva creatla olusturulma olusturulmatarihi
visibility: sichtbarkeit visibilite visibilidad visibilidade visibilita zichtbaarheid synlighet synlighed nakyvyys
  widocznosc viditelnost lathatosag vizibilitate gorunurluk
project: projekt projet proyecto projeto progetto projekti proiect proje
repository: depot repositorio repozytorium repozitar
archived: archiviert archivado arquivado archiviato gearchiveerd arkiverad arkiveret arkivert arkistoitu
  zarchiwizowane archivovano archivalt arhivat arsivlendi
application: anwendung anwendungsname aplicacion nombredelaaplicacion aplicativo applicazione nomeapplicazione
  toepassing aplikacja nomdelapplication
applicationid: iddapplication identifiantdapplication identifiantclient anwendungsid clientkennung iddeaplicacion
  iddelaaplicacion iddeaplicativo idapplicazione toepassingsid idaplikacji
repositoryaccess: depotsaccessibles accesauxdepots repositorioszugriff repositoryzugriff accesoarepositorios
  repositoriosaccesibles acessoarepositorios repositoriosacessiveis accessoairepository toegangtotrepositories
suspended: suspendu suspendue suspendido suspendida suspenso suspensa sospeso sospesa ausgesetzt opgeschort
scopes: berechtigungen rechte portees autorisations droits permisos alcances permissoes escopos permessi ambiti
  rechten machtigingen behorigheter rettigheder rettigheter oikeudet uprawnienia opravneni jogosultsagok permisiuni
  izinler
"""
# What tables say of whoever does not work here any more.
_GONE_ARE = (
    "terminated left leaver inactive offboarded deprovisioned disabled deactivated departed former suspended resigned "
    "alumni exited ended separated blocked archived banned ldapblocked nolongeremployed notactive exemployee "
    "leftcompany lefthecompany relieved absconded ausgeschieden ausgetreten inaktiv ehemalig ehemalige ehemaliger "
    "deaktiviert gesperrt nichtmehrbeschaeftigt verlassen parti partie sorti sortie inactif ancien ancienne desactive "
    "quitte licencie demissionne nonactif baja debaja inactivo inactiva cesado cesada despedido despedida exempleado "
    "desvinculado desvinculada nosactivo noactivo inativo inativa desligado desligada demitido demitida exonerado "
    "afastadodefinitivo cessato cessata dimesso dimessa inattivo inattiva nonattivo licenziato licenziata uscito "
    "uscita uitdienst inactief nietactief vertrokken ontslagen gestopt slutat avslutad slutade ejaktiv fratraadt "
    "fratradt ophoert ophort stoppet ikkeaktiv sluttet avsluttet lahtenyt eronnut paattynyt eiaktiivinen entinen "
    "zwolniony zwolniona nieaktywny nieaktywna odszedl odeszla byly byla neaktivni ukoncen ukoncena odesel odesla "
    "propusten kilepett tavozott inactiv plecat plecata concediat ayrildi istenayrildi pasif eskicalisan istencikti"
)
_HERE_ARE = (
    "active enabled aktiv actif active activo activa attivo attiva ativo ativa actief aktywny aktywna aktivni activ "
    "aktif aktiivinen valid gultig gueltig valide valido"
)
# What a table says of everything that there is.
_ALL_ARE = "all tous toutes tout alle alles samtliche todos todas todo tutti tutte tutto wszystkie vsechny kaikki"
_YES_ARE = "true yes y t 1 ja j oui o si s sim tak ano igen da evet kylla wahr vrai verdadero verdadeiro vero"
_NO_ARE = "false no n f 0 nein non nao nie ne nem nu hayir ei nee nej nei falsch faux falso"

# Months, whole and short, by number; a word is the same month in every language that has it here.
_MONTHS = """
1: january jan januar janner janvier janv enero ene janeiro gennaio gen januari januar tammikuuta stycznia ledna
2: february feb februar fevrier fevr febrero fevereiro fev febbraio februari helmikuuta lutego unora
3: march mar marz mars marzo marco maart maaliskuuta marca brezna
4: april apr avril avr abril abr aprile huhtikuuta kwietnia dubna
5: may mai mayo maio maggio mag mei maj toukokuuta maja kvetna
6: june jun juni juin junio junho giugno giu kesakuuta czerwca cervna
7: july jul juli juillet juil julio julho luglio lug heinakuuta lipca cervence
8: august aug aout agosto ago augustus augusti elokuuta sierpnia srpna
9: september sept sep septembre septiembre setembro settembre set syyskuuta wrzesnia zari
10: october oct oktober okt octobre octubre outubro out ottobre ott lokakuuta pazdziernika rijna
11: november nov novembre noviembre novembro marraskuuta listopada listopadu
12: december dec dezember dez decembre diciembre dic dezembro dicembre desember des joulukuuta grudnia prosince
"""
_SPELLED = str.maketrans({"ß": "ss", "ł": "l", "ı": "i", "ø": "o", "æ": "ae", "đ": "d", "œ": "oe"})


@lru_cache(maxsize=16384)
def plain(text: str) -> str:
    """Return letters and digits alone, in lower case and without accents: `E-Mail`, `e_mail` and `email` are one.

    Of other scripts the letters stay, without the signs above and below them.
    """
    text = text.lower()
    if text.isascii():
        return re.sub(r"[^a-z0-9]", "", text)
    text = normalize("NFKD", text.translate(_SPELLED))
    return "".join(sign for sign in text if category(sign)[0] in "LN")


def of_all(text: str) -> bool:
    """Tell whether a cell says of how many it is: of all (`All repositories`, `tous les dépôts`)."""
    return plain(re.split(r"[\W_]", text.strip(), maxsplit=1)[0]) in ALL or plain(text).startswith("all")


def _named(tables: str) -> Mapping[str, str]:
    """Return English names by what others call them. Of a word that means several things the first line counts."""
    return {
        plain(word): line.partition(":")[0]
        for line in reversed(re.split(r"\n(?=\S)", tables.strip()))
        for word in line.partition(":")[2].split()
    }


# Words that APIs have too (service, cargo) are left out.
NAMES: Mapping[str, str] = {**_named(scripts.NAMES), **_named(_NAMES)}
MONTHS: Mapping[str, int] = {
    word: int(number)
    for number, _, words in (line.partition(":") for line in _MONTHS.strip().split("\n"))
    for word in words.split()
}
ALL = frozenset(_ALL_ARE.split())
GONE, HERE, YES, NO = (
    frozenset(map(plain, one.split()))
    for one in (
        _GONE_ARE + scripts.GONE,
        _HERE_ARE,
        f"{_YES_ARE} {scripts.YES}",
        f"{_NO_ARE} {scripts.NO}",
    )
)
