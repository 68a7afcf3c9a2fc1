"""Lists of people, tokens, tags, repositories and rights in many shapes: what one says is joined to what others say."""

import json
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from taskbound.posture.exports.rows import moment
from taskbound.posture.sighting import Place
from tests.posture.whole import findings

KEY = "user,access_key_id,status,created\nstock-sync,AKIAQQQQWWWWEEEERRRR,Active,2031-01-02\n"
TAGS = json.dumps([{"UserName": "stock-sync", "Tags": [{"Key": "Owner", "Value": "rosa.vidal@shop.example"}]}])
MINE = {"tags.json": TAGS, "keys.csv": KEY}


def cases(files: Mapping[str, str]) -> set[str]:
    return {one.case for one in findings(files)}


def rows(*of: object) -> str:
    return json.dumps(list(of), indent=1)


GONE = {
    "German": (
        "Personalnr;Name;E-Mail;Abteilung;Status;Eintritt;Austritt\n"
        "7;Vidal, Rosa;rosa.vidal@shop.example;Lager;ausgeschieden;01.09.2029;28.02.2031\n"
    ),
    "German, by status": (
        "Name;E-Mail-Adresse;Kostenstelle;Status\nRosa Vidal;rosa.vidal@shop.example;44;Ausgetreten\n"
    ),
    "French": (
        "matricule;nom complet;courriel;service;statut;date de sortie\n"
        "7;Rosa Vidal;rosa.vidal@shop.example;Stock;parti;28/02/2031\n"
    ),
    "Spanish": (
        "Nombre,Correo electrónico,Departamento,Estado,Fecha de baja\n"
        "Rosa,rosa.vidal@shop.example,Almacén,Baja,28/02/2031\n"
    ),
    "Portuguese": ("nome\te-mail corporativo\tsetor\tsituação\nRosa\trosa.vidal@shop.example\tEstoque\tDesligada\n"),
    "Italian": (
        "Cognome|Nome|Indirizzo e-mail|Reparto|Stato|Data cessazione\n"
        "Vidal|Rosa|rosa.vidal@shop.example|Magazzino|Cessata|28-02-2031\n"
    ),
    "Dutch": ("Naam;E-mailadres;Afdeling;Datum uit dienst\nRosa;rosa.vidal@shop.example;Magazijn;28-02-2031\n"),
    "Swedish": ("Namn;E-postadress;Avdelning;Status;Slutdatum\nRosa;rosa.vidal@shop.example;Lager;Slutat;2031-02-28\n"),
    "Danish": ("Navn;E-mail;Afdeling;Fratrædelsesdato\nRosa;rosa.vidal@shop.example;Lager;28.02.2031\n"),
    "Norwegian": ("Navn;Epost;Avdeling;Status\nRosa;rosa.vidal@shop.example;Lager;Sluttet\n"),
    "Finnish": ("Nimi;Sähköposti;Osasto;Tila;Päättymispäivä\nRosa;rosa.vidal@shop.example;Varasto;Eronnut;28.2.2031\n"),
    "Polish": (
        "Imię,Nazwisko,Adres e-mail,Dział,Data zwolnienia\nRosa,Vidal,rosa.vidal@shop.example,Magazyn,28.02.2031\n"
    ),
    "Czech": ("Jméno;E-mail;Oddělení;Stav;Datum odchodu\nRosa;rosa.vidal@shop.example;Sklad;Ukončen;28. 2. 2031\n"),
    "Hungarian": ("Név;E-mail;Osztály;Kilépés dátuma\nRosa;rosa.vidal@shop.example;Raktár;2031. 02. 28.\n"),
    "Romanian": ("Nume;E-mail;Departament;Stare\nRosa;rosa.vidal@shop.example;Depozit;Plecată\n"),
    "Turkish": ("Ad Soyad;E-posta;Bölüm;İşten çıkış tarihi\nRosa Vidal;rosa.vidal@shop.example;Depo;28.02.2031\n"),
    "Japanese": "社員番号,氏名,メールアドレス,所属部署,退職年月日\n7,ロサ,rosa.vidal@shop.example,倉庫,2031年2月28日\n",
    "Japanese, by status": "名前,メール,部門,ステータス\nロサ,rosa.vidal@shop.example,倉庫,退職済み\n",
    "Chinese": "工号\t姓名\t邮箱\t部门\t离职日期\n7\t罗莎\trosa.vidal@shop.example\t仓库\t2031/02/28\n",
    "Chinese, by status": "姓名,公司邮箱,部门,员工状态\n罗莎,rosa.vidal@shop.example,仓库,已离职\n",
    "Korean": "사번,성명,이메일,부서,퇴사일\n7,로사,rosa.vidal@shop.example,창고,2031. 2. 28.\n",
    "Korean, by status": "이름,회사 이메일,소속,재직 여부\n로사,rosa.vidal@shop.example,창고,퇴직\n",
    "Russian": "ФИО;Электронная почта;Подразделение;Дата увольнения\nРоса;rosa.vidal@shop.example;Склад;28.02.2031\n",
    "Russian, by status": "Имя;Рабочая почта;Отдел;Статус\nРоса;rosa.vidal@shop.example;Склад;Уволена\n",
    "Ukrainian": "ПІБ;Електронна пошта;Відділ;Дата звільнення\nРоса;rosa.vidal@shop.example;Склад;28.02.2031\n",
    "Bulgarian": "Име;Имейл;Отдел;Статус\nРоса;rosa.vidal@shop.example;Склад;Напуснала\n",
    "Greek": "Ονοματεπώνυμο;Email;Τμήμα;Ημερομηνία αποχώρησης\nΡόζα;rosa.vidal@shop.example;Αποθήκη;28/02/2031\n",
    "Greek, by status": "Όνομα;Email;Τμήμα;Κατάσταση\nΡόζα;rosa.vidal@shop.example;Αποθήκη;Αποχώρησε\n",
    "Hebrew": 'שם,דוא"ל,מחלקה,תאריך סיום העסקה\nרוזה,rosa.vidal@shop.example,מחסן,28/02/2031\n',
    "Hebrew, by status": "שם,מייל,מחלקה,סטטוס\nרוזה,rosa.vidal@shop.example,מחסן,לא פעילה\n",
    "Arabic": "الاسم,البريد الإلكتروني,القسم,تاريخ انتهاء الخدمة\nروزا,rosa.vidal@shop.example,مخزن,2031-02-28\n",
    "Arabic, by status": "الاسم,البريد الإلكتروني,القسم,الحالة\nروزا,rosa.vidal@shop.example,مخزن,غير نشطة\n",
    "Vietnamese": "Họ và tên,Email,Phòng ban,Ngày nghỉ việc\nRosa,rosa.vidal@shop.example,Kho,28/02/2031\n",
    "Indonesian": "Nama,Alamat Email,Departemen,Tanggal Keluar\nRosa,rosa.vidal@shop.example,Gudang,28/02/2031\n",
    "Thai": "ชื่อ,อีเมล,แผนก,วันที่ลาออก\nRosa,rosa.vidal@shop.example,คลัง,2031-02-28\n",
    "Slovak": "Meno;E-mail;Oddelenie;Stav;Dátum ukončenia\nRosa;rosa.vidal@shop.example;Sklad;Ukončený;28. 2. 2031\n",
    "Croatian": "Ime;E-pošta;Odjel;Datum odlaska\nRosa;rosa.vidal@shop.example;Skladište;28.02.2031.\n",
    "Turkish, by status": "Ad Soyad;E-posta;Bölüm;Durum\nRosa;rosa.vidal@shop.example;Depo;İşten ayrıldı\n",
    "Czech, last day": "Jméno;E-mail;Útvar;Poslední pracovní den\nRosa;rosa.vidal@shop.example;Sklad;28. 2. 2031\n",
    "Workday": (
        "Employee ID,Worker,Work Email,Worker Status,Termination Date\n"
        "7,Rosa,rosa.vidal@shop.example,Terminated (Voluntary),28-Feb-2031\n"
    ),
    "months first": (
        "Email,Department,Status,Last day\na.b@shop.example,x,Active,\nrosa.vidal@shop.example,Stock,,02/28/2031\n"
    ),
    "BOM, quotes": (
        '\ufeff"E-Mail","Abteilung","Austrittsdatum"\r\n"rosa.vidal@shop.example","Lager","28.02.2031"\r\n'
    ),
}


@pytest.mark.parametrize("table", GONE.values(), ids=GONE.keys())
def test_who_has_left_is_told_in_any_of_the_languages(table: str) -> None:
    assert "identity-of-leaver-still-active" in cases({"people.csv": table, **MINE})


@pytest.mark.parametrize("table", [one for one in GONE.values() if "2031" in one])
def test_who_is_to_leave_is_still_here_in_any_of_them(table: str) -> None:
    later = table.replace("2031", "2033")
    for word in (
        "ausgeschieden",
        "parti",
        "Baja,",
        "Cessata",
        "Slutat",
        "Eronnut",
        "Ukončen",
        "Terminated (Voluntary)",
    ):
        later = later.replace(word, "," if word.endswith(",") else "")
    assert "identity-of-leaver-still-active" not in cases({"people.csv": later, **MINE})


@pytest.mark.parametrize(
    "row",
    [
        "rosa.vidal@shop.example;Lager;aktiv;",
        "rosa.vidal@shop.example;Lager;aktiv;31.12.2031",
        "rosa.vidal@shop.example;Lager;Elternzeit;",
        "rosa.vidal@shop.example;Lager;aktiv;01.01.1900",
        "rosa.vidal@shop.example;Lager;aktiv;31.12.9999",
    ],
)
def test_who_is_to_leave_is_still_here(row: str) -> None:
    table = f"E-Mail;Abteilung;Status;Austritt\n{row}\n"
    assert "identity-of-leaver-still-active" not in cases({"people.csv": table, **MINE})


@pytest.mark.parametrize(
    ("columns", "day", "expected"),
    [
        ("E-mail;Reparto;Data cessazione", "06/04/2031", True),
        ("E-mail;Reparto;Data cessazione", "04/06/2031", False),
        ("Email;Department;End date", "06/04/2031", False),
        ("Email;Department;End date", "04/06/2031", False),
    ],
)
def test_which_number_is_the_day_is_never_guessed(columns: str, day: str, expected: bool) -> None:
    table = f"{columns}\nrosa.vidal@shop.example;x;{day}\n"
    assert ("identity-of-leaver-still-active" in cases({"people.csv": table, **MINE})) is expected
    shown = f"{columns}\nb@shop.example;x;13/01/2029\nrosa.vidal@shop.example;x;06/04/2031\nc@shop.example;x;\n"
    assert "identity-of-leaver-still-active" in cases({"people.csv": shown, **MINE})


DIRECTORIES = {
    "Okta": rows(
        {
            "id": "00u1",
            "status": "DEPROVISIONED",
            "statusChanged": "2031-02-28T00:00:00Z",
            "activated": None,
            "profile": {"login": "rosa.vidal@shop.example", "firstName": "Rosa"},
        }
    ),
    "Okta without times": rows(
        {"id": "00u1", "status": "DEPROVISIONED", "profile": {"login": "rosa.vidal@shop.example"}}
    ),
    "Entra": json.dumps(
        {"value": [{"id": "x", "userPrincipalName": "rosa.vidal@shop.example", "accountEnabled": False}]}
    ),
    "Entra, portal": (
        "userPrincipalName,displayName,surname,mail,accountEnabled,userType\n"
        "rosa.vidal@shop.example,Rosa,Vidal,,False,Member\n"
    ),
    "Workspace": json.dumps({"users": [{"primaryEmail": "rosa.vidal@shop.example", "suspended": True}]}),
    "Workspace, console": (
        "First Name [Required],Last Name [Required],Email Address [Required],Status [READ ONLY],"
        "Last Sign In [READ ONLY]\n"
        "Rosa,Vidal,rosa.vidal@shop.example,Suspended,2031/02/01\n"
    ),
    "GitLab": rows(
        {
            "id": 52,
            "username": "rvidal",
            "name": "Rosa Vidal",
            "state": "blocked",
            "email": "rosa.vidal@shop.example",
            "last_sign_in_at": None,
        }
    ),
    "Slack": json.dumps(
        {
            "ok": True,
            "members": [
                {
                    "id": "U1",
                    "team_id": "T1",
                    "name": "rosa",
                    "deleted": True,
                    "profile": {"email": "rosa.vidal@shop.example"},
                }
            ],
        }
    ),
    "Slack, CSV": (
        "username,email,status,billing-active,has-2fa,userid\nrosa,rosa.vidal@shop.example,Deactivated,0,1,U1\n"
    ),
    "JumpCloud": json.dumps(
        {
            "results": [
                {
                    "username": "rosa",
                    "email": "rosa.vidal@shop.example",
                    "activated": True,
                    "suspended": True,
                    "state": "SUSPENDED",
                }
            ]
        }
    ),
    "Personio": json.dumps(
        {
            "data": [
                {
                    "type": "Employee",
                    "attributes": {
                        "email": {"label": "Email", "value": "rosa.vidal@shop.example"},
                        "status": {"label": "Status", "value": "inactive"},
                        "termination_date": {"label": "Termination date", "value": "2031-02-28T00:00:00+01:00"},
                    },
                }
            ]
        }
    ),
}


DIRECTORIES |= {
    "Okta, CSV": (
        "userId,login,firstName,lastName,email,status,lastLogin,deactivated\n"
        "00u1,rosa.vidal@shop.example,Rosa,Vidal,rosa.vidal@shop.example,DEPROVISIONED,,2031-02-28T00:00:00Z\n"
    ),
    "Active Directory": "SamAccountName,UserPrincipalName,Enabled\nrvidal,rosa.vidal@shop.example,False\n",
    "Active Directory, control": "sAMAccountName,mail,userAccountControl\nrvidal,rosa.vidal@shop.example,514\n",
    "of one's own": json.dumps(
        {"day": "x", "offboarded": [{"email": "rosa.vidal@shop.example", "last_day": "2031-02-28"}]}
    ),
    "of one's own, YAML": (
        "mitarbeiter:\n  - name: Rosa Vidal\n    e-mail: rosa.vidal@shop.example\n    austritt: 28.02.2031\n"
    ),
}
HERE = (
    *(
        ("DEPROVISIONED", "ACTIVE"),
        ("false", "true"),
        ("False", "True"),
        ("Suspended", "Active"),
        ("blocked", "active"),
    ),
    *(
        ('"deleted": true', '"deleted": false'),
        ("Deactivated", "Member"),
        ("SUSPENDED", "ACTIVE"),
        ("inactive", "active"),
    ),
    *(
        ("514", "512"),
        ("2031-02-28", "2033-02-28"),
        ("28.02.2031", "28.02.2033"),
        ('"suspended": true', '"suspended": false'),
    ),
)


@pytest.mark.parametrize("table", DIRECTORIES.values(), ids=DIRECTORIES.keys())
def test_who_has_left_is_told_by_any_directory(table: str) -> None:
    name = "users.json" if table.startswith(("[", "{")) else "users.yaml" if ":\n" in table else "users.csv"
    assert "identity-of-leaver-still-active" in cases({name: table, **MINE})
    here = table
    for said, other in HERE:
        if said in table:
            here = here.replace(said, other)
    assert "identity-of-leaver-still-active" not in cases({name: here, **MINE})


def test_an_account_that_works_does_not_bring_back_who_has_left_and_is_told_itself() -> None:
    people = "email,department,status,left_on\nrosa.vidal@shop.example,stock,terminated,2031-02-28\n"
    user = {
        "id": 52,
        "username": "rvidal",
        "name": "Rosa Vidal",
        "state": "active",
        "email": "rosa.vidal@shop.example",
        "last_sign_in_at": "2031-02-20T00:00:00Z",
    }
    found = cases({"hr.csv": people, "gitlab/users.json": rows(user), **MINE})
    assert {"identity-of-leaver-still-active", "right-of-leaver"} <= found
    blocked = cases({"hr.csv": people, "gitlab/users.json": rows(user | {"state": "blocked"}), **MINE})
    assert "right-of-leaver" not in blocked


def test_who_was_blocked_in_one_application_works_here_still() -> None:
    people = "email,department,status\nrosa.vidal@shop.example,stock,active\n"
    user = {
        "id": 52,
        "username": "rvidal",
        "state": "blocked",
        "email": "rosa.vidal@shop.example",
        "last_sign_in_at": "",
    }
    assert "identity-of-leaver-still-active" not in cases({"hr.csv": people, "users.json": rows(user), **MINE})


def test_who_came_back_works_here() -> None:
    twice = "rosa.vidal@shop.example,stock,terminated,2030-02-28\nrosa.vidal@shop.example,stock,active,\n"
    for table in (twice, "\n".join(reversed(twice.strip().split("\n"))) + "\n"):
        people = "email,department,status,left_on\n" + table
        assert "identity-of-leaver-still-active" not in cases({"hr.csv": people, **MINE})


PEOPLE = (
    "email,department,status,left_on\n"
    "rosa.vidal@shop.example,stock,terminated,2031-02-28\n"
    "ines.kolb@shop.example,ops,active,\n"
)
LEFT = {"token-of-leaver-still-used", "identity-of-leaver-still-active"}
PAT = {
    "id": 9,
    "name": "release",
    "revoked": False,
    "created_at": "2030-12-01T00:00:00Z",
    "scopes": ["read_api"],
    "user_id": 52,
    "last_used_at": "2031-04-30T00:00:00Z",
    "active": True,
    "expires_at": "2031-11-01",
}
TOKENS = {
    "GitLab, by number": {
        "users.json": rows(
            {
                "id": 52,
                "username": "rvidal",
                "state": "active",
                "email": "rosa.vidal@shop.example",
                "last_sign_in_at": None,
            }
        ),
        "tokens.json": rows(PAT),
    },
    "GitLab, by number, without address": {
        "users.json": rows(
            {
                "id": 52,
                "username": "rosa.vidal",
                "name": "Rosa Vidal",
                "state": "active",
                "avatar_url": "https://git.shop.example/a.png",
                "web_url": "https://git.shop.example/rosa.vidal",
            }
        ),
        "tokens.json": rows(PAT),
    },
    "GitLab, by number, as a table": {
        "users.csv": (
            "id,username,name,state,email,last_sign_in_at\n52,rvidal,Rosa Vidal,active,rosa.vidal@shop.example,\n"
        ),
        "tokens.csv": (
            "id,name,revoked,created_at,scopes,user_id,last_used_at,active,expires_at\n"
            '9,release,f,2030-12-01,"read_api,api",52,2031-04-30,t,2031-11-01\n'
        ),
    },
    "GitHub, as a table": {
        "pats.csv": (
            "login,saml_name_id,token_name,token_type,scopes,created_at,expires_at,last_used_at\n"
            "rv,rosa.vidal@shop.example,mirror,classic,repo,2031-01-01,2031-06-01,2031-04-30\n"
        ),
    },
    "Atlassian": {
        "tokens.json": json.dumps(
            {
                "data": [
                    {
                        "id": "a1",
                        "label": "jira sync",
                        "user": {"id": "712020:x", "name": "Rosa Vidal", "email": "rosa.vidal@shop.example"},
                        "createdAt": "2030-12-01T00:00:00Z",
                        "expiresAt": "2031-11-01T00:00:00Z",
                        "lastActiveAt": "2031-04-30T00:00:00Z",
                        "status": "ALLOWED",
                    }
                ]
            }
        ),
    },
    "Bitbucket": {
        "tokens.json": json.dumps(
            {
                "values": [
                    {
                        "id": "252973515069",
                        "createdDate": 1922745600000,
                        "lastAuthenticated": 1935100800000,
                        "name": "mirror",
                        "permissions": ["REPO_WRITE"],
                        "user": {"name": "rvidal", "emailAddress": "rosa.vidal@shop.example", "slug": "rvidal"},
                    }
                ]
            }
        ),
    },
    "Databricks": {
        "tokens.json": json.dumps(
            {
                "token_infos": [
                    {
                        "token_id": "f0e1",
                        "creation_time": 1922745600000,
                        "expiry_time": -1,
                        "comment": "etl",
                        "created_by_username": "rosa.vidal@shop.example",
                        "owner_id": 7,
                    }
                ]
            }
        ),
    },
    "Snowflake": {
        "tokens.csv": (
            '"name","user_name","role_restriction","expires_at","status","comment","created_on",'
            '"created_by"\n'
            '"ETL","rosa.vidal","LOADER","2031-11-01","ACTIVE","","2031-01-01","ADMIN"\n'
        ),
    },
    "npm": {
        "tokens.json": rows(
            {
                "token": "npm_aB",
                "id": "8f",
                "name": "publish",
                "created": "2031-01-01T00:00:00Z",
                "expires": "2031-06-01T00:00:00Z",
                "readonly": False,
                "user": "rosa.vidal",
            }
        ),
    },
    "PyPI, kept by somebody": {
        "tokens.csv": (
            "Token name;Besitzer;Erstellt am;Ablaufdatum;Zuletzt verwendet\n"
            "upload;rosa.vidal@shop.example;01.01.2031;01.11.2031;30.04.2031\n"
        ),
    },
    "Azure DevOps": {
        "tokens.csv": (
            "displayName,validFrom,validTo,scope,targetAccounts,userPrincipalName\n"
            "build,2031-01-01,2031-11-01,vso.code_full,x,rosa.vidal@shop.example\n"
        ),
    },
    "Okta": {
        "tokens.json": rows(
            {
                "id": "00T1",
                "name": "terraform",
                "clientName": "Okta API",
                "userId": "00u1oSKtv9qzGgk4ABD1",
                "created": "2031-01-01T00:00:00Z",
                "expiresAt": "2031-06-01T00:00:00Z",
                "tokenWindow": "P30D",
            }
        ),
        "users.json": rows(
            {
                "id": "00u1oSKtv9qzGgk4ABD1",
                "status": "DEPROVISIONED",
                "created": "2030-01-01T00:00:00Z",
                "profile": {"login": "rosa.vidal@shop.example"},
            }
        ),
    },
    "deploy keys of GitHub": {
        "keys.json": rows(
            {
                "id": 3,
                "key": "ssh-ed25519 AAAA",
                "title": "mirror",
                "read_only": False,
                "verified": True,
                "created_at": "2031-01-01T00:00:00Z",
                "last_used": "2031-04-30T00:00:00Z",
                "added_by": "rosa.vidal",
                "url": "https://api.github.com/repos/shop/stock/keys/3",
            }
        ),
    },
}


@pytest.mark.parametrize("files", TOKENS.values(), ids=TOKENS.keys())
def test_a_token_of_who_has_left_is_found_in_any_list(files: dict[str, str]) -> None:
    assert LEFT & cases({"people.csv": PEOPLE, **files})
    here = PEOPLE.replace("terminated,2031-02-28", "active,")
    users = {name: text.replace("DEPROVISIONED", "ACTIVE") for name, text in files.items()}
    assert not LEFT & cases({"people.csv": here, **users})


def test_a_projects_token_is_nobodys_whatever_number_its_bot_has() -> None:
    files = {**TOKENS["GitLab, by number"], "people.csv": PEOPLE}
    assert LEFT & cases(files)
    assert not LEFT & cases({**files, "tokens.json": rows(PAT | {"access_level": 30})})


def test_who_made_a_token_counts_where_it_has_a_user_of_its_own() -> None:
    token = {
        "id": 1,
        "name": "pull",
        "username": "gitlab+deploy-token-1",
        "expires_at": None,
        "scopes": ["read_registry"],
        "revoked": False,
        "created_by": "rosa.vidal@shop.example",
    }
    assert LEFT & cases({"people.csv": PEOPLE, "tokens.json": rows(token)})
    assert not LEFT & cases(
        {"people.csv": PEOPLE, "tokens.json": rows(token | {"created_by": "ines.kolb@shop.example"})}
    )


WIDE = {
    "GitHub, organisation's table": (
        'saml_name_id,login,token_name,token_type,scopes,expires_at\n,rv,mirror,classic,"admin:org,repo",2031-06-01\n'
    ),
    "GitHub, spaces": ("login;token_name;scopes;token_expires_at\nrv;mirror;repo delete_repo;2031-06-01\n"),
    "GitHub, fine-grained": (
        "login,token_name,token_type,permissions,expires_at\n"
        'rv,mirror,fine-grained,"administration:write,contents:read",2031-06-01\n'
    ),
    "GitLab": ('id,name,revoked,scopes,user_id,expires_at\n9,mirror,false,"api,sudo",52,2031-06-01\n'),
    "in another language": (
        "Token name;Besitzer;Berechtigungen;Ablaufdatum\nmirror;rosa@shop.example;admin:org, repo;01.06.2031\n"
    ),
}


@pytest.mark.parametrize("table", WIDE.values(), ids=WIDE.keys())
def test_scopes_in_one_column_are_told_apart(table: str) -> None:
    assert "token-scopes-too-wide" in cases({"tokens.csv": table})
    narrow = table
    for one in ("admin:org", "delete_repo", "administration:write,", "api,sudo"):
        narrow = narrow.replace(one, "read:user" if one[-1] != "," else "")
    assert "token-scopes-too-wide" not in cases({"tokens.csv": narrow})


REPORT = (
    "user,arn,access_key_1_active,access_key_1_last_rotated,access_key_1_last_used_date,"
    "password_enabled,access_key_2_active\n"
    "stock-sync,arn:aws:iam::1:user/stock-sync,true,2031-03-01T00:00:00+00:00,"
    "2031-04-30T00:00:00+00:00,false,false\n"
    "mail-out,arn:aws:iam::1:user/mail-out,true,2031-03-01T00:00:00+00:00,"
    "2031-04-30T00:00:00+00:00,false,false\n"
)
OWNERS = {
    "a line for each tag": (
        "ResourceType,UserName,Key,Value\niam:user,stock-sync,Owner,rosa@shop.example\niam:user,mail-out,CostCenter,7\n"
    ),
    "by ARN": (
        "ResourceArn,TagKey,TagValue\n"
        "arn:aws:iam::1:user/a/stock-sync,owner,rosa@shop.example\n"
        "arn:aws:iam::1:user/mail-out,owner,\n"
    ),
    "a column": ("UserName,CreateDate,Owner\nstock-sync,2030-01-01,rosa@shop.example\nmail-out,2030-01-01,n/a\n"),
    "a column of a tag": (
        "ARN;Type;Tag: Owner\n"
        "arn:aws:iam::1:user/stock-sync;AWS::IAM::User;rosa@shop.example\n"
        "arn:aws:iam::1:user/mail-out;AWS::IAM::User;\n"
    ),
    "an inventory": (
        "Name;Type;Besitzer\nstock-sync;IAM user;rosa@shop.example\nmail-out;IAM user;\n"
        "stock-db;PostgreSQL;rosa@shop.example\n"
    ),
    "a column, beside others": "IAM user,Owner,Purpose\nstock-sync,rosa@shop.example,x\nmail-out,,y\n",
    "in another language": ("ResourceArn;Key;Value\narn:aws:iam::1:user/stock-sync;Verantwortlich;rosa@shop.example\n"),
}


@pytest.mark.parametrize("table", OWNERS.values(), ids=OWNERS.keys())
def test_whose_an_account_is_is_told_by_a_table_of_tags(table: str) -> None:
    (found,) = (one for one in findings({"report.csv": REPORT, "tags.csv": table}) if one.case == "no-owner")
    assert found.subjects == ("aws:user/mail-out",)


@pytest.mark.parametrize(
    "table",
    [
        ("ResourceType,ResourceName,Key,Value\ns3:bucket,stock-sync,Owner,rosa@shop.example\n"),
        "username,key,value\nstock-sync,theme,dark\n",
        "resource,key,value\nstock-sync,owner,Besitzer\n",
    ],
)
def test_a_table_of_something_else_tells_nobodys_owner(table: str) -> None:
    assert "no-owner" not in cases({"report.csv": REPORT, "tags.csv": table})


AWS = (
    "[default]\n"
    "aws_access_key_id = AKIAVIGNZBO2WN6OV7NK\n"
    "aws_secret_access_key = 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\n"
)
REPOSITORIES = {
    "group and yes": (
        "full_name,visibility,last_push,archived,default_branch\nlogistics/firmware,private,2030-07-11,yes,main\n"
    ),
    "by status": "Repository;Status;Sichtbarkeit\nfirmware;archiviert;intern\n",
    "ja": "Projekt;Sichtbarkeit;Archiviert\nfirmware;intern;ja\n",
    "1": "repository,archived,private\nfirmware,1,1\n",
    "since a day": ("path_with_namespace,archived_at,visibility\nlogistics/tools/firmware,2030-07-11,private\n"),
    "gh repo list": json.dumps([{"nameWithOwner": "logistics/firmware", "isArchived": True, "visibility": "PRIVATE"}]),
    "Gitea": json.dumps([{"full_name": "logistics/firmware", "archived": True, "updated_at": "2030-07-11T00:00:00Z"}]),
    "Azure DevOps": json.dumps(
        {
            "value": [
                {
                    "name": "firmware",
                    "isDisabled": True,
                    "defaultBranch": "refs/heads/main",
                    "remoteUrl": "https://dev.azure.com/shop/_git/firmware",
                }
            ]
        }
    ),
}


@pytest.mark.parametrize("table", REPOSITORIES.values(), ids=REPOSITORIES.keys())
def test_an_archived_repository_is_known_by_its_name_alone(table: str) -> None:
    case, where = "archived-repository-holds-live-credential", "repos/firmware/deploy/credentials.ini"
    name = "list.json" if table.startswith(("[", "{")) else "list.csv"
    assert case in cases({name: table, where: AWS})
    for said, other in (
        (",yes,", ",no,"),
        (";ja", ";nein"),
        ("archiviert;", "aktiv;"),
        ("firmware,1", "firmware,0"),
        ("true", "false"),
        (",2030-07-11,private", ",,private"),
    ):
        table = table.replace(said, other)
    assert case not in cases({name: table, where: AWS})


PERMISSIONS = {
    "names": (
        "principalDisplayName,principalType,resourceDisplayName,permission,grantType\n"
        "mail-out,ServicePrincipal,Microsoft Graph,RoleManagement.ReadWrite.Directory,Application\n"
    ),
    "Get-AzureADPSPermissions": (
        '"PermissionType","ClientDisplayName","ResourceDisplayName","Permission","ConsentType",'
        '"PrincipalDisplayName"\n'
        '"Application","mail-out","Microsoft Graph","AppRoleAssignment.ReadWrite.All","",""\n'
    ),
    "several in one cell": (
        "Application name;Type;API permissions\nmail-out;Application;Mail.Send, Application.ReadWrite.All\n"
    ),
    "ids": json.dumps(
        {
            "value": [
                {
                    "appRoleId": "9e3f62cf-ca93-4989-b6ce-bf83c28f9fe8",
                    "principalId": "p1",
                    "principalType": "ServicePrincipal",
                    "principalDisplayName": "mail-out",
                    "resourceId": "g",
                    "resourceDisplayName": "Microsoft Graph",
                }
            ]
        }
    ),
}


@pytest.mark.parametrize("table", PERMISSIONS.values(), ids=PERMISSIONS.keys())
def test_an_application_that_rules_the_directory_is_found(table: str) -> None:
    name = "list.json" if table.startswith(("[", "{")) else "list.csv"
    (found,) = (one for one in findings({name: table}) if one.case == "application-rules-the-directory")
    assert found.subjects == ("entra-app:mail-out",)
    for said, other in (
        ("Application,", "Delegated,"),
        (",Application\n", ",Delegated\n"),
        ('"Application"', '"Delegated"'),
        (";Application;", ";Delegated;"),
        ("9e3f62cf", "00000000"),
    ):
        table = table.replace(said, other)
    assert "application-rules-the-directory" not in cases({name: table})


MEMBERS = {
    "GitHub": rows({"login": "rv", "id": 1, "type": "User", "site_admin": False}),
    "GitHub, CSV": "login,name,role,saml_name_id,last_active\nzz,Rosa,member,rosa.vidal@shop.example,2031-04-30\n",
    "GitLab": rows(
        {"id": 52, "username": "rosa.vidal", "name": "R", "state": "active", "avatar_url": "a", "web_url": "b"}
    ),
    "Azure": rows(
        {
            "principalName": "rosa.vidal@shop.example",
            "principalType": "User",
            "roleDefinitionName": "Reader",
            "scope": "/",
        }
    ),
    "Azure, CSV": (
        "Scope,DisplayName,SignInName,RoleDefinitionName,ObjectType\n"
        "/subscriptions/1,Rosa,rosa.vidal@shop.example,Contributor,User\n"
    ),
    "Google Cloud, CSV": "role,members\nroles/viewer,user:rosa.vidal@shop.example\n",
    "Entra": json.dumps(
        {
            "value": [
                {
                    "principalId": "q",
                    "roleDefinitionId": "62e90394-69f5-4237-9190-012177145e10",
                    "principal": {
                        "@odata.type": "#microsoft.graph.user",
                        "displayName": "Rosa",
                        "userPrincipalName": "rosa.vidal@shop.example",
                    },
                }
            ]
        }
    ),
}
STAFF = "email,github,department,left_on\nrosa.vidal@shop.example,rv,stock,2031-02-28\nines.kolb@shop.example,ik,ops,\n"


@pytest.mark.parametrize("table", MEMBERS.values(), ids=MEMBERS.keys())
def test_a_right_that_who_has_left_has_by_name_is_found(table: str) -> None:
    name = "list.json" if table.startswith(("[", "{")) else "list.csv"
    assert "right-of-leaver" in cases({"hr.csv": STAFF, name: table})
    assert "right-of-leaver" not in cases({"hr.csv": STAFF.replace("2031-02-28", ""), name: table})


OWNING = {
    "Azure": (
        "Scope,DisplayName,SignInName,RoleDefinitionName,ObjectType\n/subscriptions/1,loader,,Owner,ServicePrincipal\n"
    ),
    "Google Cloud": "role;member\nroles/owner;serviceAccount:loader@p.iam.gserviceaccount.com\n",
}


@pytest.mark.parametrize("table", OWNING.values(), ids=OWNING.keys())
def test_a_program_that_owns_all_of_it_is_found_in_a_table(table: str) -> None:
    assert "iam-star-star" in cases({"list.csv": table})
    assert "iam-star-star" not in cases({"list.csv": table.replace("Owner", "Reader").replace("owner", "viewer")})


LINE = "stock-sync,arn:aws:iam::1:user/stock-sync,true,2029-03-01T00:00:00+00:00,2031-04-30T00:00:00+00:00,false\n"
HEAD = "user,arn,access_key_1_active,access_key_1_last_rotated,access_key_1_last_used_date,password_enabled\n"
GOOGLES = "loader@p.iam.gserviceaccount.com/keys/0123456789abcdef0123456789abcdef01234567"
OLD = {
    "report": HEAD + LINE,
    "report, renamed": HEAD.replace("user,arn", "user_name,user_arn") + LINE,
    "report, semicolons": (HEAD + LINE).replace(",", ";"),
    "report, without last use": "\n".join(",".join(one.split(",")[:4]) for one in (HEAD + LINE).strip().split("\n"))
    + "\n",
    "report, answer": json.dumps({"Content": b64encode((HEAD + LINE).encode()).decode(), "ReportFormat": "text/csv"}),
    "keys, yes": "UserName;AccessKeyId;Active;CreateDate\nstock-sync;AKIAQQQQWWWWEEEERRRR;yes;01.03.2029\n",
    "keys, enabled": "IAM User,Access Key ID,Status,Created On\nstock-sync,AKIAQQQQWWWWEEEERRRR,Enabled,2029-03-01\n",
    "Google, table": (
        f"service_account,key_id,key_type,created\n{GOOGLES.replace('/keys/', ',')},USER_MANAGED,2029-03-01T00:00:00Z\n"
    ),
    "Google, inventory": rows(
        {
            "name": f"//iam.googleapis.com/projects/p/serviceAccounts/{GOOGLES}",
            "assetType": "iam.googleapis.com/ServiceAccountKey",
            "resource": {"data": {"keyType": "USER_MANAGED", "validAfterTime": "2029-03-01T00:00:00Z"}},
        }
    ),
}


@pytest.mark.parametrize("table", OLD.values(), ids=OLD.keys())
def test_an_old_key_is_found_whatever_columns_a_list_has(table: str) -> None:
    name = "list.json" if table.startswith(("[", "{")) else "list.csv"
    assert cases({name: table}) == {"access-key-not-rotated"}
    assert cases({name: table.replace("2029", "2031")}) == (
        set() if "Content" not in table else {"access-key-not-rotated"}
    )


def test_when_a_key_was_used_may_stand_deeper_in_its_entry() -> None:
    key = {
        "UserName": "stock-sync",
        "AccessKeyId": "AKIAQQQQWWWWEEEERRRR",
        "Status": "Active",
        "CreateDate": "2030-06-01T00:00:00Z",
        "AccessKeyLastUsed": {"LastUsedDate": "2030-07-01T00:00:00Z", "ServiceName": "s3"},
    }
    assert "stale-access-key" in cases({"keys.json": rows(key)})
    used = key | {"AccessKeyLastUsed": {"LastUsedDate": "2031-04-01T00:00:00Z"}}
    assert "stale-access-key" not in cases({"keys.json": rows(used)})


def test_when_a_key_was_used_may_stand_in_another_list() -> None:
    key = {
        "name": f"projects/p/serviceAccounts/{GOOGLES}",
        "keyType": "USER_MANAGED",
        "validAfterTime": "2030-11-01T00:00:00Z",
        "validBeforeTime": "9999-12-31T23:59:59Z",
    }
    used = {
        "activityType": "serviceAccountKeyLastAuthentication",
        "fullResourceName": f"//iam.googleapis.com/projects/p/serviceAccounts/{GOOGLES}",
        "activity": {"lastAuthenticatedTime": "2030-12-01T08:00:00Z"},
    }
    assert "stale-access-key" in cases({"keys.json": rows(key), "activity.json": rows(used)})
    assert "stale-access-key" not in cases({"keys.json": rows(key)})


@pytest.mark.parametrize("detail", [True, False])
def test_what_access_analyzer_found_of_a_key_is_told(detail: bool) -> None:
    found: dict[str, object] = {
        "findingType": "UnusedIAMUserAccessKey",
        "resource": "arn:aws:iam::1:user/stock-sync",
        "status": "ACTIVE",
        "analyzedAt": "2031-04-30T00:00:00Z",
    }
    if detail:
        used = {"accessKeyId": "AKIAQQQQWWWWEEEERRRR", "lastAccessed": "2030-10-01T00:00:00Z"}
        found["findingDetails"] = [{"unusedIamUserAccessKeyDetails": used}]
    answer = found if detail else {"findings": [found]}
    assert "stale-access-key" in cases({"a.json": json.dumps(answer)})
    assert cases({"a.json": json.dumps(answer).replace("ACTIVE", "ARCHIVED")}) == set()


def test_secrets_of_applications_are_told_by_a_table() -> None:
    table = (
        "ApplicationName,ApplicationID,SecretName,SecretStartDate,SecretEndDate,Owner\n"
        "loader,0000,prod,2030-01-01,2040-01-01,rosa.vidal@shop.example\n"
    )
    assert cases({"apps.csv": table, "hr.csv": STAFF}) == {
        "client-secret-until-2099",
        "identity-of-leaver-still-active",
    }
    assert cases({"apps.csv": table.replace("2040", "2031"), "hr.csv": STAFF.replace("2031-02-28", "")}) == set()


def test_somebody_elses_application_that_rules_is_told_as_theirs() -> None:
    theirs = {
        "id": "p1",
        "appId": "a",
        "appDisplayName": "mail-out",
        "appOwnerOrganizationId": "t9",
        "servicePrincipalType": "Application",
        "verifiedPublisher": {"displayName": "Mail Out Ltd"},
    }
    mine = (
        {"appId": "b", "displayName": "loader"},
        {
            "id": "p2",
            "appId": "b",
            "appDisplayName": "loader",
            "appOwnerOrganizationId": "t1",
            "servicePrincipalType": "Application",
        },
    )
    apps = json.dumps({"value": [{**mine[0], "passwordCredentials": []}]})
    found = cases({"list.json": PERMISSIONS["ids"], "sp.json": rows(theirs, mine[1]), "apps.json": apps})
    assert found == {"third-party-app-rules-the-tenant"}


ROLES = {
    "Graph": json.dumps(
        {
            "value": [
                {
                    "principalId": "p",
                    "roleDefinitionId": "62e90394-69f5-4237-9190-012177145e10",
                    "principal": {"@odata.type": "#microsoft.graph.servicePrincipal", "displayName": "loader"},
                }
            ]
        }
    ),
    "CSV": "Role,Principal,Principal type\nGlobal Administrator,loader,ServicePrincipal\n",
}


@pytest.mark.parametrize("table", ROLES.values(), ids=ROLES.keys())
def test_an_application_with_a_role_of_an_administrator_is_found(table: str) -> None:
    name = "list.json" if table.startswith(("[", "{")) else "list.csv"
    assert cases({name: table}) == {"application-rules-the-directory"}
    reads = table.replace("62e90394", "f2ef992c").replace("Global Administrator", "Global Reader")
    assert cases({name: reads}) == set()


APP = 'app_slug,repository_selection,permissions,suspended_at\nweaver,all,"administration:write,contents:write",\n'


def test_installations_and_deploy_keys_are_read_from_tables() -> None:
    assert "third-party-app-all-repositories-admin" in cases({"apps.csv": APP})
    assert cases({"apps.csv": APP.replace("write", "read")}) == set()
    keys = (
        "repository,title,read_only,created_at,last_used,added_by\nshop/stock,mirror,false,2031-01-01,2031-04-30,rv\n"
    )
    assert LEFT & cases({"keys.csv": keys, "hr.csv": STAFF})
    archived = "name,archived,visibility\nstock,yes,private\n"
    assert "key-of-what-is-switched-off" in cases({"keys.csv": keys, "repos.csv": archived})


WORKFLOW = (
    "on:\n  issues: {types: [opened]}\njobs:\n  answer:\n    runs-on: ubuntu-latest\n    steps:\n"
    "      - uses: anthropics/claude-code-action@0123456789012345678901234567890123456789\n"
    "        with: {allowed_non_write_users: '*', prompt: 'answer ${{ github.event.issue.body }}'}\n"
)


@pytest.mark.parametrize(
    ("columns", "row", "expected"),
    [
        ("full_name,visibility,archived,pushed_at", "shop/web,private,false,2031-04-01", False),
        ("full_name,visibility,archived,pushed_at", "shop/web,internal,false,2031-04-01", False),
        ("name,is_private,archived,pushed_at", "web,true,false,2031-04-01", False),
        ("full_name,visibility,archived,pushed_at", "shop/web,public,false,2031-04-01", True),
        ("name,is_private,archived,pushed_at", "web,false,false,2031-04-01", True),
        ("full_name,visibility,archived,pushed_at", "shop/other,private,false,2031-04-01", True),
    ],
)
def test_outsiders_do_not_reach_what_is_private(columns: str, row: str, expected: bool) -> None:
    files = {"repos/web/.github/workflows/a.yml": WORKFLOW, "repositories.csv": f"{columns}\n{row}\n"}
    assert ("agent-workflow-open-to-outsiders" in cases(files)) is expected


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("Super Admin", True),
        ("Super Administrator", True),
        ("Organization Administrator", True),
        ("Admin", True),
        ("Viewer, Admin", True),
        ("Read-only Admin", False),
        ("Help Desk Admin", False),
        ("Report Administrator", False),
        ("Group Membership Administrator", False),
        ("Viewer", False),
    ],
)
def test_a_role_is_as_wide_as_all_of_its_name(role: str, expected: bool) -> None:
    columns = "Token name,Created by,Role,Created,Last used,Expires"
    table = f'{columns}\ncollector,rv,"{role}",2031-01-02,2031-04-30,2031-06-01\n'
    assert ("token-scopes-too-wide" in cases({"tokens.csv": table})) is expected


ROSTER = (
    "Sl No,Resource Name,Email ID,GitHub ID,Vendor,Status,LWD\n"
    "1,Rosa Vidal,rosa.vidal@shop.example,stockhand,Northwind,Relieved,28-Feb-2031\n"
)
CREDENTIAL = rows(
    {
        "login": "stockhand",
        "credential_id": 9,
        "credential_type": "personal access token",
        "token_last_eight": "aB3dE5gH",
        "credential_authorized_at": "2030-01-02T03:04:05Z",
        "credential_accessed_at": "2031-04-30T03:04:05Z",
        "scopes": ["repo"],
        "authorized_credential_expires_at": "2031-12-01T00:00:00Z",
    }
)


@pytest.mark.parametrize(
    "table",
    [
        ROSTER,
        ROSTER.replace(",LWD", ",Relieving Date"),
        ROSTER.replace(",LWD", "").replace(",28-Feb-2031", "").replace("Vendor", "Department"),
        "Nom;Courriel;Compte GitHub;Service;Date de sortie\nRosa;rosa.vidal@shop.example;stockhand;Stock;28/02/2031\n",
        "Name;E-Mail;GitHub-Konto;Austritt\nRosa;rosa.vidal@shop.example;stockhand;28.02.2031\n",
    ],
)
def test_a_token_of_who_has_left_is_known_by_their_name_at_the_forge(table: str) -> None:
    assert "token-of-leaver-still-used" in cases({"people.csv": table, "list.json": CREDENTIAL})
    for here in (table.replace("2031", "2033").replace("Relieved", "Active"), table.replace("stockhand", "otherhand")):
        assert "token-of-leaver-still-used" not in cases({"people.csv": here, "list.json": CREDENTIAL})


@pytest.mark.parametrize("column", ["GitHub team", "GitHub organisation", "Bitbucket URL", "GitHub access"])
def test_what_a_forge_is_named_beside_is_not_always_a_login(column: str) -> None:
    table = f"Email,{column},Last day\nrosa.vidal@shop.example,stockhand,2031-02-28\n"
    assert "token-of-leaver-still-used" not in cases({"people.csv": table, "list.json": CREDENTIAL})
    yes = "Email,GitHub account,Last day\nrosa.vidal@shop.example,yes,2031-02-28\n"
    assert "token-of-leaver-still-used" not in cases(
        {"people.csv": yes, "list.json": CREDENTIAL.replace("stockhand", "yes")}
    )


ACCESS_KEYS = {
    "French": "Utilisateur;Clé d'accès;État;Créée le;Dernière utilisation;Responsable\n{};Jamais;rv@shop.example\n",
    "Spanish": "Usuario;Clave de acceso;Estado;Creada el;Último uso;Responsable\n{};Nunca;rv@shop.example\n",
    "Italian": "Utente;Access key ID;Stato;Creata il;Ultimo utilizzo;Responsabile\n{};Mai;rv@shop.example\n",
}


@pytest.mark.parametrize("table", ACCESS_KEYS.values(), ids=ACCESS_KEYS.keys())
def test_a_key_that_was_made_and_never_used_is_told_in_other_languages(table: str) -> None:
    row = "stock-sync;AKIAQQQQWWWWEEEERRRR;Active;02/11/2030"
    text = table.format(row).replace("Utente", "User")
    assert "never-used-access-key" in cases({"keys.csv": text})
    assert "never-used-access-key" not in cases({"keys.csv": text.replace("Active", "Inactive")})
    assert "never-used-access-key" not in cases({"keys.csv": text.replace("2030", "2031")})


@pytest.mark.parametrize(
    "tag", ["Responsable", "responsabile", "Responsável", "Verantwortlich", "Propriétaire", "owner"]
)
def test_whose_a_user_is_is_told_in_other_languages(tag: str) -> None:
    users = [
        {"UserName": name, "UserId": name, "Arn": f"arn:aws:iam::1:user/{name}", "CreateDate": "2031-01-02", "Tags": of}
        for name, of in (("stock-sync", [{"Key": tag, "Value": "rv@shop.example"}]), ("mirror", []))
    ]
    keys = KEY + KEY.splitlines()[1].replace("stock-sync", "mirror").replace("QQQQ", "ZZZZ") + "\n"
    other = "iam_user,owner,team\nloader,rv@shop.example,x\n"
    files = {"users.json": json.dumps({"UserDetailList": users}, indent=1), "keys.csv": keys, "z.csv": other}
    [found] = (one for one in findings(files) if one.case == "no-owner")
    assert found.subjects == ("aws:user/mirror",)
    # Either list is where an owner may be missing.
    assert {Place("users.json", 1), Place("z.csv", 1)} <= {*found.places}


INSTALLED = (
    "Applications installées (relevé du 2 mai 2031);;;;;\n"
    "Application;Éditeur;Dépôts accessibles;Autorisations;Installée le;Suspendue\n"
    "weaver;Weaver Ltd;tous;administration:write, contents:write;14/01/2030;non\n"
)


def test_an_app_on_all_repositories_is_told_in_other_languages() -> None:
    german = "App;Repository-Zugriff;Berechtigungen\nweaver;Alle Repositories;administration:write, contents:write\n"
    case = "third-party-app-all-repositories-admin"
    assert case in cases({"apps.csv": INSTALLED})
    assert case in cases({"apps.csv": german})
    for other in (("tous", "3 sélectionnés"), ("non", "oui"), ("administration:write", "administration:read")):
        assert case not in cases({"apps.csv": INSTALLED.replace(*other)})
    assert case not in cases({"apps.csv": german.replace("Alle", "2 ausgewählte")})


ENTRA = {
    "French": "Application;ID d'application (client);Nature;Créé le;Expire le\nloader;{};Secret;3 mai 2030;{}\n",
    "German": "Anwendung;Anwendungs-ID (Client);Typ;Erstellt am;Ablaufdatum\nloader;{};Geheimnis;3. Mai 2030;{}\n",
    "Spanish": "Aplicación;ID de aplicación;Tipo;Fecha de creación;Caduca\nloader;{};Secreto;3 de mayo de 2030;{}\n",
    "English": "App name,Client ID,Type,Created,Expires\nloader,{},Client secret,3 May 2030,{}\n",
}


@pytest.mark.parametrize("table", ENTRA.values(), ids=ENTRA.keys())
def test_a_secret_of_an_application_is_told_in_other_languages(table: str) -> None:
    guid = "3f2b1c9e-7a44-4d0b-9a51-6f0f8e3d2c1b"
    case = "client-secret-until-2099"
    assert case in cases({"apps.csv": table.format(guid, "31.12.2099")})
    assert case not in cases({"apps.csv": table.format(guid, "30.10.2030")})
    licence = table.replace("Secreto", "Licencia").replace("Geheimnis", "Lizenz").replace("Client secret", "Licence")
    assert case not in cases({"apps.csv": licence.replace("Secret;", "Licence;").format(guid, "31.12.2099")})


@pytest.mark.parametrize(
    "text",
    [
        *("1er août 2031", "01 août 2031", "1. August 2031", "1 de agosto de 2031", "1º de agosto de 2031"),
        *("1 agosto 2031", "1 aug. 2031", "01-août-31", "1 sierpnia 2031", "1 srpna 2031", "1 août 2031 14:05"),
        *("1 Aug 2031", "01-Aug-2031", "August 1, 2031"),
    ],
)
def test_a_day_with_its_month_in_words_is_read(text: str) -> None:
    assert moment(text) == datetime(2031, 8, 1, tzinfo=UTC)


@pytest.mark.parametrize("text", ["1 pommes 2031", "32 mai 2031", "12 mai", "1 2 2031", "v1 mai 2031", "mai 2031"])
def test_what_is_no_month_is_no_day(text: str) -> None:
    assert moment(text) is None
