"""Scripts: what tables call a member in languages beside those of `columns`, and the words that stand in it.

Letters that are not Latin (Japanese, Chinese, Korean, Russian, Ukrainian, Bulgarian, Serbian, Greek, Hebrew, Arabic,
Persian, Hindi, Thai), and Vietnamese, Indonesian, Slovak, Croatian, Slovenian, Lithuanian, Latvian, Estonian, Catalan.
As people write them; "_" stands for a space. Who reads them takes out accents and case.
"""

NAMES = """
email: メールアドレス 電子メール Eメール メール 社用メール 会社メール 社内メール 邮箱 电子邮箱 邮箱地址 电子邮件
  工作邮箱 公司邮箱 企业邮箱 電子郵件 電郵 電子信箱 信箱 이메일 이메일주소 메일 메일주소 회사이메일 전자우편 почта
  электронная_почта адрес_электронной_почты рабочая_почта корпоративная_почта эл_почта емейл имейл електронна_пошта
  електронна_адреса пошта робоча_пошта адреса_електронної_пошти имейл_адрес електронна_поща имејл е_пошта
  ηλεκτρονικό_ταχυδρομείο διεύθυνση_email διεύθυνση_ηλεκτρονικού_ταχυδρομείου דואל דוא"ל דואר_אלקטרוני אימייל
  כתובת_מייל כתובת_דואל מייל البريد_الإلكتروني بريد_إلكتروني الايميل الإيميل عنوان_البريد_الإلكتروني ایمیل
  پست_الکترونیک ईमेल ई_मेल อีเมล อีเมล์ thư_điện_tử địa_chỉ_email hộp_thư surel alamat_email emailova_adresa
  e_mailová_adresa e_poštová_adresa e_pošta elektronička_pošta adresa_e_pošte e_poštni_naslov el_paštas
  elektroninis_paštas e_pasts e_posti_aadress meiliaadress correu adreça_electrònica correu_electrònic
login: ログインID ユーザーID ユーザー名 ユーザID アカウント名 アカウント 用户名 登录名 账号 帐号 使用者名稱 帳號
  아이디 사용자_이름 사용자명 계정 사용자_ID логин имя_пользователя учётная_запись логін ім'я_користувача
  обліковий_запис потребителско_име корисничко_име όνομα_χρήστη שם_משתמש اسم_المستخدم نام_کاربری उपयोगकर्ता_नाम ชื่อผู้ใช้
  tên_đăng_nhập tên_người_dùng nama_pengguna používateľské_meno korisničko_ime uporabniško_ime naudotojo_vardas
  lietotājvārds kasutajanimi nom_d'usuari
status: 在籍状況 在籍状態 在職状況 状態 ステータス 雇用状況 在籍区分 雇用状態 状态 在职状态 员工状态 人员状态 狀態
  在職狀態 任職狀態 상태 재직상태 재직_여부 재직여부 고용상태 статус состояние статус_сотрудника стан
  статус_працівника κατάσταση סטטוס מצב סטטוס_העסקה الحالة حالة_الموظف حالة وضعیت स्थिति สถานะ trạng_thái tình_trạng
  status_karyawan stanje status_zaposlenja zaposlitveni_status būsena statuss
lefton: 退職日 退社日 離職日 退職年月日 退職予定日 最終出社日 最終出勤日 最終勤務日 契約終了日 雇用終了日 離任日
  退会日 离职日期 离职时间 离职日 最后工作日 合同终止日期 離職日期 最後工作日 退職日期 퇴사일 퇴직일 퇴사일자
  퇴직일자 마지막_근무일 최종근무일 계약종료일 дата_увольнения дата_ухода уволен_с последний_рабочий_день
  дата_прекращения дата_окончания_договора дата_завершения_работы дата_звільнення останній_робочий_день
  дата_завершення звільнено_з дата_на_напускане последен_работен_ден дата_на_прекратяване датум_одласка
  датум_престанка ημερομηνία_αποχώρησης ημερομηνία_λήξης_σύμβασης τελευταία_εργάσιμη_ημέρα ημ_νία_αποχώρησης
  ημερομηνία_απόλυσης תאריך_עזיבה תאריך_סיום תאריך_סיום_העסקה תאריך_סיום_עבודה יום_אחרון יום_עבודה_אחרון
  تاريخ_المغادرة تاريخ_ترك_العمل تاريخ_انتهاء_الخدمة تاريخ_نهاية_الخدمة آخر_يوم_عمل تاريخ_الاستقالة
  تاريخ_إنهاء_الخدمة تاریخ_خروج تاریخ_پایان_کار छोड़ने_की_तिथि अंतिम_कार्य_दिवस วันที่ลาออก วันที่พ้นสภาพ วันทำงานวันสุดท้าย
  ngày_nghỉ_việc ngày_thôi_việc ngày_kết_thúc ngày_làm_việc_cuối_cùng ngày_kết_thúc_hợp_đồng tanggal_keluar
  tanggal_berhenti tanggal_resign hari_kerja_terakhir dátum_odchodu dátum_ukončenia posledný_pracovný_deň
  datum_odlaska datum_prestanka zadnji_radni_dan datum_prenehanja zadnji_delovni_dan išėjimo_data atleidimo_data
  paskutinė_darbo_diena aiziešanas_datums atlaišanas_datums pēdējā_darba_diena lahkumise_kuupäev töölt_lahkumine
  viimane_tööpäev data_de_baixa data_de_sortida poslední_den poslední_pracovní_den datum_ukončení_pracovního_poměru
  ayrılış_tarihi işten_ayrılma_tarihi iş_çıkış_tarihi son_iş_günü son_çalışma_günü fesih_tarihi ostatni_dzień
  ostatni_dzień_pracy data_rozwiązania data_końca data_ultimei_zile utolsó_munkanap
department: 部署 部門 所属 所属部署 課 チーム 部门 所属部门 科室 부서 소속 팀 отдел подразделение департамент відділ
  підрозділ отдел_на одељење τμήμα διεύθυνση מחלקה צוות القسم الإدارة قسم بخش विभाग แผนก ฝ่าย phòng_ban bộ_phận
  departemen bagian oddelenie odjel odsjek oddelek skyrius padalinys nodaļa osakond departament_de
employeeid: 社員番号 従業員番号 職員番号 社員ID 员工编号 工号 员工号 員工編號 사번 직원번호 사원번호 табельный_номер
  табельний_номер служебен_номер αριθμός_μητρώου מספר_עובד الرقم_الوظيفي رقم_الموظف کد_پرسنلی कर्मचारी_आईडी รหัสพนักงาน
  mã_nhân_viên nomor_karyawan osobné_číslo matični_broj
jobtitle: 役職 職種 職位 职位 岗位 직급 직책 직위 должность посада длъжност радно_место θέση תפקיד المسمى_الوظيفي
  الوظيفة سمت पद ตำแหน่ง chức_vụ chức_danh jabatan pozícia radno_mjesto delovno_mesto pareigos ametikoht càrrec
manager: 上司 上長 主管 直属上级 상사 관리자 руководитель керівник ръководител руководилац προϊστάμενος מנהל المدير
  مدیر प्रबंधक ผู้จัดการ quản_lý atasan nadriadený nadređeni vadovas vadītājs juht
name: 氏名 名前 社員名 従業員名 姓名 员工姓名 名称 員工姓名 이름 성명 직원명 사원명 фио имя_сотрудника сотрудник піб
  ім'я працівник име име_и_презиме служител запослени όνομα ονοματεπώνυμο εργαζόμενος שם שם_מלא שם_העובד עובד الاسم
  الاسم_الكامل اسم_الموظف الموظف نام नाम ชื่อ ชื่อ_นามสกุล họ_tên họ_và_tên tên_nhân_viên nama nama_lengkap
  meno_a_priezvisko ime_i_prezime ime_in_priimek vardas vārds_uzvārds
firstname: 名 ファーストネーム имя ім'я_власне שם_פרטי الاسم_الأول tên_gọi meno ime
lastname: 姓 名字 苗字 фамилия прізвище фамилно_име презиме επώνυμο επίθετο שם_משפחה اسم_العائلة priezvisko prezime
  priimek
owner: 所有者 責任者 担当者 管理者 オーナー 负责人 拥有者 责任人 負責人 擁有者 소유자 담당자 책임자 владелец
  ответственный ответственное_лицо власник відповідальний собственик отговорник υπεύθυνος ιδιοκτήτης κάτοχος בעלים
  אחראי المالك المسؤول مالك مسئول स्वामी เจ้าของ ผู้รับผิดชอบ chủ_sở_hữu người_phụ_trách người_chịu_trách_nhiệm pemilik
  penanggung_jawab vlastník zodpovedný vlasnik odgovorna_osoba lastnik skrbnik savininkas īpašnieks omanik vastutaja
  propietari sorumlu odpowiedzialny odpovědná_osoba felelős responsabil
expires: 有効期限 失効日 期限 満了日 到期时间 过期时间 有效期 到期日 過期時間 만료일 만료일시 유효기간 срок_действия
  действует_до истекает дата_истечения термін_дії діє_до закінчується изтича_на истиче λήξη ημερομηνία_λήξης תפוגה
  תאריך_תפוגה תוקף تاريخ_الانتهاء ينتهي_في الصلاحية تاریخ_انقضا समाप्ति_तिथि วันหมดอายุ ngày_hết_hạn hết_hạn
  tanggal_kedaluwarsa kedaluwarsa platí_do vyprší datum_isteka istječe velja_do galioja_iki derīgs_līdz kehtib_kuni
  caducitat
lastused: 最終使用日 最終使用日時 最終利用日 最終ログイン 最終アクセス 最后使用时间 最近使用 最后登录 最後使用時間
  마지막_사용일 최근_사용일 마지막_사용 последнее_использование дата_последнего_использования останнє_використання
  последно_използване τελευταία_χρήση שימוש_אחרון آخر_استخدام آخرین_استفاده अंतिम_उपयोग ใช้งานล่าสุด lần_dùng_cuối
  sử_dụng_lần_cuối terakhir_digunakan naposledy_použité zadnje_korištenje zadnja_uporaba paskutinis_naudojimas
  pēdējā_lietošana viimati_kasutatud darrer_ús
created: 作成日 作成日時 発行日 登録日 创建时间 创建日期 建立时间 建立時間 생성일 생성일시 발급일 создан
  дата_создания дата_выпуска створено дата_створення създаден дата_на_създаване ημερομηνία_δημιουργίας δημιουργήθηκε
  נוצר תאריך_יצירה تاريخ_الإنشاء أنشئ_في تاریخ_ایجاد निर्माण_तिथि วันที่สร้าง ngày_tạo tanggal_dibuat dibuat vytvorené
  datum_kreiranja kreirano ustvarjeno sukurta izveidots loodud creat_el data_de_creació
visibility: 公開範囲 可視性 可见性 可見性 공개_여부 공개범위 видимость видимість видимост ορατότητα נראות الرؤية
  khả_năng_hiển_thị visibilitas viditeľnosť vidljivost
repository: リポジトリ リポジトリ名 仓库 代码库 仓库名 儲存庫 저장소 레포지토리 репозиторий репозиторій хранилище
  αποθετήριο מאגר المستودع مخزن kho_mã kho_lưu_trữ repositori repozitár repozitorij repozitorijs hoidla
archived: アーカイブ アーカイブ済み 已归档 归档 已封存 보관됨 보관 архивирован в_архиве архівовано архивиран
  αρχειοθετημένο בארכיון مؤرشف đã_lưu_trữ diarsipkan archivované arhivirano arxivat
scopes: 権限 スコープ 权限 範圍 範囲 权限范围 權限 권한 범위 права разрешения доступы права_доступа дозволи
  права_на_достъп δικαιώματα הרשאות الصلاحيات الأذونات अनुमतियाँ สิทธิ์ quyền quyền_hạn izin hak_akses oprávnenia dozvole
  dovoljenja teisės tiesības õigused
"""
GONE = """
退職 退職済 退職済み 退社 退社済 離職 離職済 退職者 無効 停止 利用停止 离职 已离职 離職 已離職 离岗 辞职 已辞职 停用
已停用 禁用 已禁用 離職者 非在职 不在职 퇴사 퇴직 퇴사함 퇴직자 퇴사자 비활성 중지 계약종료 уволен уволена уволился
уволилась уволены не_работает неактивен неактивна заблокирован заблокирована отключен отключён отключена бывший
бывшая звільнений звільнена звільнено звільнився не_працює неактивний неактивна заблокований напуснал напуснала
освободен неактивен отишао отишла престао αποχώρησε αποχωρήσας έφυγε ανενεργός ανενεργή απολύθηκε παραιτήθηκε πρώην
עזב עזבה לא_פעיל לא_פעילה פוטר פוטרה התפטר התפטרה סיים סיימה غادر غادرت مستقيل مستقيلة استقال استقالت منتهية_خدماته
منتهي_الخدمة انتهت_خدمته غير_نشط غير_نشطة مفصول متوقف ترك_العمل خارج_شده غیرفعال निष्क्रिय छोड़_दिया ลาออก ลาออกแล้ว
พ้นสภาพ đã_nghỉ đã_nghỉ_việc nghỉ_việc thôi_việc đã_thôi_việc không_hoạt_động keluar berhenti resign nonaktif
tidak_aktif odišiel odišla neaktívny neaktívna ukončený otišao otišla neaktivan neaktivna odšel odšla neaktiven
išėjo atleistas neaktyvus aizgājis atlaists neaktīvs lahkunud mitteaktiivne inactiu odešel odešla odszedł odeszła
były zwolniony ayrıldı işten_ayrıldı işten_çıktı çıkış_yapıldı pasif
"""
YES = "はい 有効 是 예 네 да так ναι כן نعم हाँ ใช่ có ya áno da taip jā jah sí"
NO = "いいえ 無効 否 아니요 아니오 нет ні όχι לא لا नहीं ไม่ใช่ không tidak nie ne nē ei"
