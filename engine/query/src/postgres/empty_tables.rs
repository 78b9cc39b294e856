//! The tables of `pg_catalog` that have no rows here, since a lake has no indexes, constraints, triggers, roles' rights
//! and the like. Clients read them all the same, and find the columns that they name.

/// Name and columns, as [`super::rows::columns`] reads them.
pub(super) const EMPTY_TABLES: &[(&str, &str)] = &[
    (
        "pg_aggregate",
        "aggfnoid:t aggkind:c aggnumdirectargs:s aggtransfn:t aggfinalfn:t aggsortop:o aggtranstype:o agginitval:t",
    ),
    ("pg_attrdef", "oid:o adrelid:o adnum:s adbin:t"),
    ("pg_auth_members", "oid:o roleid:o member:o grantor:o admin_option:b"),
    ("pg_available_extensions", "name:t default_version:t installed_version:t comment:t"),
    ("pg_cast", "oid:o castsource:o casttarget:o castfunc:o castcontext:c castmethod:c"),
    (
        "pg_collation",
        "oid:o collname:t collnamespace:o collowner:o collprovider:c collisdeterministic:b collencoding:i \
         collcollate:t collctype:t colliculocale:t collversion:t",
    ),
    (
        "pg_constraint",
        "oid:o conname:t connamespace:o contype:c condeferrable:b condeferred:b convalidated:b conrelid:o contypid:o \
         conindid:o conparentid:o confrelid:o confupdtype:c confdeltype:c confmatchtype:c conislocal:b coninhcount:i \
         connoinherit:b conkey:ss confkey:ss conpfeqop:oo conppeqop:oo conffeqop:oo confdelsetcols:ss conexclop:oo \
         conbin:t",
    ),
    (
        "pg_conversion",
        "oid:o conname:t connamespace:o conowner:o conforencoding:i contoencoding:i conproc:t condefault:b",
    ),
    ("pg_db_role_setting", "setdatabase:o setrole:o setconfig:tt"),
    ("pg_default_acl", "oid:o defaclrole:o defaclnamespace:o defaclobjtype:c defaclacl:tt"),
    ("pg_depend", "classid:o objid:o objsubid:i refclassid:o refobjid:o refobjsubid:i deptype:c"),
    ("pg_description", "objoid:o classoid:o objsubid:i description:t"),
    ("pg_enum", "oid:o enumtypid:o enumsortorder:f enumlabel:t"),
    ("pg_event_trigger", "oid:o evtname:t evtevent:t evtowner:o evtfoid:o evtenabled:c evttags:tt"),
    (
        "pg_extension",
        "oid:o extname:t extowner:o extnamespace:o extrelocatable:b extversion:t extconfig:oo extcondition:tt",
    ),
    (
        "pg_foreign_data_wrapper",
        "oid:o fdwname:t fdwowner:o fdwhandler:o fdwvalidator:o fdwacl:tt fdwoptions:tt",
    ),
    (
        "pg_foreign_server",
        "oid:o srvname:t srvowner:o srvfdw:o srvtype:t srvversion:t srvacl:tt srvoptions:tt",
    ),
    ("pg_foreign_table", "ftrelid:o ftserver:o ftoptions:tt"),
    ("pg_group", "groname:t grosysid:o grolist:oo"),
    (
        "pg_index",
        "indexrelid:o indrelid:o indnatts:s indnkeyatts:s indisunique:b indnullsnotdistinct:b indisprimary:b \
         indisexclusion:b indimmediate:b indisclustered:b indisvalid:b indcheckxmin:b indisready:b indislive:b \
         indisreplident:b indkey:ss indcollation:oo indclass:oo indoption:ss indexprs:t indpred:t",
    ),
    ("pg_indexes", "schemaname:t tablename:t indexname:t tablespace:t indexdef:t"),
    ("pg_inherits", "inhrelid:o inhparent:o inhseqno:i inhdetachpending:b"),
    ("pg_init_privs", "objoid:o classoid:o objsubid:i privtype:c initprivs:tt"),
    (
        "pg_language",
        "oid:o lanname:t lanowner:o lanispl:b lanpltrusted:b lanplcallfoid:o laninline:o lanvalidator:o lanacl:tt",
    ),
    ("pg_largeobject_metadata", "oid:o lomowner:o lomacl:tt"),
    (
        "pg_locks",
        "locktype:t database:o relation:o page:i tuple:s virtualxid:t transactionid:l classid:o objid:o objsubid:s \
         virtualtransaction:t pid:i mode:t granted:b fastpath:b waitstart:z",
    ),
    (
        "pg_matviews",
        "schemaname:t matviewname:t matviewowner:t tablespace:t hasindexes:b ispopulated:b definition:t",
    ),
    (
        "pg_opclass",
        "oid:o opcmethod:o opcname:t opcnamespace:o opcowner:o opcfamily:o opcintype:o opcdefault:b opckeytype:o",
    ),
    (
        "pg_operator",
        "oid:o oprname:t oprnamespace:o oprowner:o oprkind:c oprcanmerge:b oprcanhash:b oprleft:o oprright:o \
         oprresult:o oprcom:o oprnegate:o oprcode:t oprrest:t oprjoin:t",
    ),
    ("pg_opfamily", "oid:o opfmethod:o opfname:t opfnamespace:o opfowner:o"),
    (
        "pg_partitioned_table",
        "partrelid:o partstrat:c partnatts:s partdefid:o partattrs:ss partclass:oo partcollation:oo partexprs:t",
    ),
    ("pg_policies", "schemaname:t tablename:t policyname:t permissive:t roles:tt cmd:t qual:t with_check:t"),
    ("pg_policy", "oid:o polname:t polrelid:o polcmd:c polpermissive:b polroles:oo polqual:t polwithcheck:t"),
    ("pg_prepared_statements", "name:t statement:t prepare_time:z parameter_types:tt from_sql:b"),
    ("pg_prepared_xacts", "transaction:l gid:t prepared:z owner:t database:t"),
    (
        "pg_publication",
        "oid:o pubname:t pubowner:o puballtables:b pubinsert:b pubupdate:b pubdelete:b pubtruncate:b pubviaroot:b",
    ),
    ("pg_publication_namespace", "oid:o pnpubid:o pnnspid:o"),
    ("pg_publication_rel", "oid:o prpubid:o prrelid:o prqual:t prattrs:ss"),
    ("pg_publication_tables", "pubname:t schemaname:t tablename:t attnames:tt rowfilter:t"),
    (
        "pg_range",
        "rngtypid:o rngsubtype:o rngmultitypid:o rngcollation:o rngsubopc:o rngcanonical:t rngsubdiff:t",
    ),
    (
        "pg_replication_slots",
        "slot_name:t plugin:t slot_type:t datoid:o database:t temporary:b active:b active_pid:i xmin:l",
    ),
    ("pg_rewrite", "oid:o rulename:t ev_class:o ev_type:c ev_enabled:c is_instead:b ev_qual:t ev_action:t"),
    ("pg_rules", "schemaname:t tablename:t rulename:t definition:t"),
    ("pg_seclabel", "objoid:o classoid:o objsubid:i provider:t label:t"),
    ("pg_seclabels", "objoid:o classoid:o objsubid:i objtype:t objnamespace:o objname:t provider:t label:t"),
    (
        "pg_sequence",
        "seqrelid:o seqtypid:o seqstart:l seqincrement:l seqmax:l seqmin:l seqcache:l seqcycle:b",
    ),
    (
        "pg_sequences",
        "schemaname:t sequencename:t sequenceowner:t data_type:t start_value:l min_value:l max_value:l \
         increment_by:l cycle:b cache_size:l last_value:l",
    ),
    ("pg_shdepend", "dbid:o classid:o objid:o objsubid:i refclassid:o refobjid:o deptype:c"),
    ("pg_shdescription", "objoid:o classoid:o description:t"),
    ("pg_shseclabel", "objoid:o classoid:o provider:t label:t"),
    (
        "pg_stat_activity",
        "datid:o datname:t pid:i leader_pid:i usesysid:o usename:t application_name:t client_addr:t \
         client_hostname:t client_port:i backend_start:z xact_start:z query_start:z state_change:z \
         wait_event_type:t wait_event:t state:t backend_xid:l backend_xmin:l query_id:l query:t backend_type:t",
    ),
    ("pg_stat_gssapi", "pid:i gss_authenticated:b principal:t encrypted:b"),
    ("pg_stat_ssl", "pid:i ssl:b version:t cipher:t bits:i client_dn:t client_serial:t issuer_dn:t"),
    (
        "pg_stat_user_tables",
        "relid:o schemaname:t relname:t seq_scan:l seq_tup_read:l idx_scan:l idx_tup_fetch:l n_tup_ins:l \
         n_tup_upd:l n_tup_del:l n_live_tup:l n_dead_tup:l last_vacuum:z last_analyze:z",
    ),
    (
        "pg_statistic_ext",
        "oid:o stxrelid:o stxname:t stxnamespace:o stxowner:o stxstattarget:i stxkeys:ss stxkind:tt stxexprs:t",
    ),
    (
        "pg_statistic_ext_data",
        "stxoid:o stxdinherit:b stxdndistinct:t stxddependencies:t stxdmcv:t stxdexpr:t",
    ),
    ("pg_stats", "schemaname:t tablename:t attname:t inherited:b null_frac:f avg_width:i n_distinct:f"),
    (
        "pg_subscription",
        "oid:o subdbid:o subname:t subowner:o subenabled:b subconninfo:t subslotname:t subpublications:tt",
    ),
    ("pg_subscription_rel", "srsubid:o srrelid:o srsubstate:c srsublsn:t"),
    ("pg_timezone_names", "name:t abbrev:t utc_offset:t is_dst:b"),
    ("pg_transform", "oid:o trftype:o trflang:o trffromsql:t trftosql:t"),
    (
        "pg_trigger",
        "oid:o tgrelid:o tgparentid:o tgname:t tgfoid:o tgtype:s tgenabled:c tgisinternal:b tgconstrrelid:o \
         tgconstrindid:o tgconstraint:o tgdeferrable:b tginitdeferred:b tgnargs:s tgattr:ss tgargs:t tgqual:t \
         tgoldtable:t tgnewtable:t",
    ),
    ("pg_ts_config", "oid:o cfgname:t cfgnamespace:o cfgowner:o cfgparser:o"),
    ("pg_ts_dict", "oid:o dictname:t dictnamespace:o dictowner:o dicttemplate:o dictinitoption:t"),
    (
        "pg_ts_parser",
        "oid:o prsname:t prsnamespace:o prsstart:t prstoken:t prsend:t prsheadline:t prslextype:t",
    ),
    ("pg_ts_template", "oid:o tmplname:t tmplnamespace:o tmplinit:t tmpllexize:t"),
    ("pg_user_mapping", "oid:o umuser:o umserver:o umoptions:tt"),
];

/// Whether a name is that of a table without rows.
pub(super) fn is_empty_table(name: &str) -> bool {
    EMPTY_TABLES.iter().any(|(known, _)| *known == name)
}
